"""Opens state.db for a command, with errors that end the command."""

from sqlalchemy import Engine

from app.auth.workspaces import WorkspaceError, Workspaces
from app.cli.common import fail
from app.settings.settings import Settings
from app.storage import state_db
from app.storage.state_steps import VersionError


def open_state(settings: Settings) -> Engine:
    """Open state.db. Exits if it does not fit this version."""
    try:
        return state_db.open_state(settings.data_dir)
    except VersionError as error:
        raise fail(str(error)) from None


def workspace_of(settings: Settings, state: Engine, name: str) -> None:
    """Exit if there is no such workspace."""
    try:
        Workspaces(state, settings).get(name)
    except WorkspaceError as error:
        raise fail(str(error)) from None
