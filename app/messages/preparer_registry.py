"""Creates the preparers of workspaces, for processes that need nothing else of them."""

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
    """Message preparers by workspace, at most POLL_SECONDS behind state.db. Blocking, but quick."""

    def __init__(self, settings: Settings, state: Engine, journal: Journal) -> None:
        self._settings, self._state, self._journal = settings, state, journal
        self._workspaces = Workspaces(state, settings)
        self._withdrawals = Withdrawals(state)
        self._made: dict[str, tuple[Workspace, MessagePreparer]] = {}
        self._looked: dict[str, float] = {}

    def of(self, workspace: str) -> MessagePreparer:
        """Returns the preparer, the same while nothing has changed. Raises WorkspaceError."""
        known, now = self._made.get(workspace), time.monotonic()
        if known and now - self._looked[workspace] < POLL_SECONDS:
            return known[1]
        current, self._looked[workspace] = self._workspaces.get(workspace), now
        if known is None or known[0] != current:
            preparer = make_preparer(
                current, self._settings, self._state, self._journal, self._withdrawals
            )
            known = current, preparer
            self._made[workspace] = known
        return known[1]


def make_preparer(
    workspace: Workspace,
    settings: Settings,
    state: Engine,
    journal: Journal,
    withdrawals: Withdrawals,
) -> MessagePreparer:
    """Create the message preparer of a workspace."""
    return MessagePreparer(
        settings=workspace.settings(settings),
        tokens=Tokens(workspace.secret_keys, workspace.name),
        journal=journal,
        suppressions=Suppressions(state, workspace.name),
        experiments=Experiments(state, workspace.name),
        workspace=workspace.name,
        withdrawn=withdrawals.axes,
    )
