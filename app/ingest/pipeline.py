"""Puts together the parts that take the journal to ClickHouse, as every process needs them."""

from typing import NamedTuple

from sqlalchemy import Engine

from app.auth.workspaces import HttpsWorkspaces, Workspaces
from app.consent.suppression_rules import SuppressionRules, WorkspaceRules
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.networks import Networks
from app.ingest.verification import Verifier
from app.outcomes.loading import OutcomeLoader
from app.settings.settings import Settings
from app.storage.clickhouse import Storage
from app.storage.segment_register import SegmentRegister
from app.storage.verifications import Verifications

KEPT_SHARE = 0.1  # of the largest journal: for what is kept of loaded journal segments


class Pipeline(NamedTuple):
    """The parts of one data folder; its journal's folder must exist."""

    feed: Feed
    loader: Loader
    corrections: Corrections
    verifier: Verifier


def assemble(settings: Settings, storage: Storage, state: Engine) -> Pipeline:
    """Returns the parts. Raises NetworksError."""
    folder = settings.data_dir / "journal"
    networks = Networks(settings.asn_file, settings.country_file)
    https = HttpsWorkspaces(Workspaces(state, settings))
    kept_bytes = int(settings.journal_max_mb * 2**20 * KEPT_SHARE)
    hours = settings.keep_segments_hours
    if days := settings.keep_addresses_days:
        hours = min(hours, days * 24)  # rows of messages have email addresses
    feed, register = Feed(state), SegmentRegister(state, hours, kept_bytes)
    rules = WorkspaceRules(state, SuppressionRules.of(settings))
    outcomes = OutcomeLoader(folder, storage, state, feed, rules.of)
    loader = Loader(
        folder, storage, networks, feed, settings.recipient_key, https, register, outcomes
    )
    corrections = Corrections(folder, storage, networks, feed, https)
    verifier = Verifier(storage, loader, corrections, register, feed, Verifications(state))
    return Pipeline(feed, loader, corrections, verifier)
