"""Outgoing mail of any workspace, for processes that need nothing else of it."""

import time

from sqlalchemy import Engine

from app.auth.workspaces import Workspace, Workspaces
from app.consent.suppressions import Suppressions
from app.consent.withdrawals import Withdrawals
from app.experiments.experiments import Experiments
from app.messages.prepare import MessagePreparer
from app.settings.settings import Settings
from app.storage.journal import Journal
from app.tracking.tokens import Tokens

POLL_SECONDS = 1.0  # seconds


class PreparerRegistry:
    """By workspace, as state.db had it within the last LOOK seconds. Blocking, but quick."""

    def __init__(self, settings: Settings, state: Engine, journal: Journal) -> None:
        self._settings, self._state, self._journal = settings, state, journal
        self._workspaces = Workspaces(state, settings)
        self._withdrawals = Withdrawals(state)
        self._made: dict[str, tuple[Workspace, MessagePreparer]] = {}
        self._looked: dict[str, float] = {}

    def of(self, workspace: str) -> MessagePreparer:
        """The same as long as nothing has changed. Raises WorkspaceError."""
        known, now = self._made.get(workspace), time.monotonic()
        if known and now - self._looked[workspace] < POLL_SECONDS:
            return known[1]
        found, self._looked[workspace] = self._workspaces.get(workspace), now
        if known is None or known[0] != found:
            made = make_preparer(
                found, self._settings, self._state, self._journal, self._withdrawals
            )
            known = found, made
            self._made[workspace] = known
        return known[1]


def make_preparer(
    one: Workspace, settings: Settings, state: Engine, journal: Journal, withdrawals: Withdrawals
) -> MessagePreparer:
    """Outgoing mail of one workspace."""
    return MessagePreparer(
        settings=one.settings(settings),
        tokens=Tokens(one.secret_keys, one.name),
        journal=journal,
        suppressions=Suppressions(state, one.name),
        experiments=Experiments(state, one.name),
        workspace=one.name,
        withdrawn=withdrawals.axes,
    )
