"""Opens the state for a command, with errors that end the command."""

from sqlalchemy import Engine

from app.auth.workspaces import WorkspaceError, Workspaces
from app.cli.common import fail
from app.settings.settings import PREFIX, Settings
from app.storage import state_db
from app.storage.state_steps import VersionError


def open_state(settings: Settings) -> Engine:
    """Open the state. Exits if it does not fit this version, or cannot be reached."""
    try:
        return state_db.open_state(settings.data_dir, dsn=settings.state_dsn)
    except VersionError as error:
        raise fail(str(error)) from None
    except state_db.UnreachableError as error:
        raise fail(f"{PREFIX}STATE_DSN: {error}") from None


def workspace_of(settings: Settings, state: Engine, name: str) -> None:
    """Exit if there is no such workspace."""
    try:
        Workspaces(state, settings).get(name)
    except WorkspaceError as error:
        raise fail(str(error)) from None
