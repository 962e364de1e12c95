"""Receives bounces: mail to the return paths that the gateway has given to its copies."""

from sqlalchemy import Engine

from app.auth.workspaces import Workspaces
from app.outcomes import bounce_mail
from app.outcomes.reports import OutcomeReports
from app.outcomes.return_path import NamedMessage, ReturnPaths
from app.settings.settings import Settings
from app.storage.journal import Journal
from app.threads import offloaded

MAX_BYTES = bounce_mail.MAX_BYTES  # of a bounce
MEGABYTES = MAX_BYTES // 1_000_000


class BounceReceiver:
    """Reads bounces and writes what they report to the journal. `paths` are the return paths."""

    def __init__(self, paths: ReturnPaths, journal: Journal) -> None:
        self.paths, self._journal = paths, journal

    @staticmethod
    def of(settings: Settings, state: Engine, journal: Journal) -> "BounceReceiver | None":
        """Returns a receiver if the settings name a domain for bounces."""
        if not settings.bounce_domain:
            return None
        paths = ReturnPaths(settings.bounce_domain, Workspaces(state, settings))
        return BounceReceiver(paths, journal)

    async def record(self, named: NamedMessage, sender: str, content: bytes) -> None:
        """Record what a mail to a message's return path reports. Raises JournalError.

        A mail that reports nothing changes nothing. `sender` is the envelope's, empty for none.
        """
        trace = b"Return-Path: <%s>\r\n" % sender.encode("utf-8", "surrogateescape")
        mail = trace + content[: bounce_mail.MAX_NAMED_BYTES]
        events = await offloaded(len(mail), bounce_mail.read, mail, named.message)
        workspace = named.workspace
        reports = OutcomeReports(workspace.name, workspace.recipient_key, self._journal)
        records, _ = reports.provider_records(bounce_mail.PROVIDER, events)
        await reports.write(records)
