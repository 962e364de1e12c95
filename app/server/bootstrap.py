"""Creates the first key and user, and takes over those of an older secrets.json."""

import json
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Engine

from app.auth.api_keys import FIRST_START, Keys
from app.auth.users import ADMIN, UserError, Users
from app.auth.workspaces import DEFAULT
from app.files import write_private
from app.settings.settings import Settings


class FirstStart(NamedTuple):
    """The first key (empty if there was one) and `code`, which logs `admin` in once.

    `code` is empty once `admin` has a password.
    """

    key: str
    code: str


def bootstrap(settings: Settings, state: Engine) -> FirstStart:
    """Create what is missing. Call it once, before anything is served."""
    keys, users = Keys(state, settings), Users(state)
    take_over(settings, keys, users)
    admin, password = users.get(ADMIN, DEFAULT), settings.dashboard_password
    known = admin and admin.has_password and users.by_password(ADMIN, password)
    if password and admin and not known:
        users.set_password(ADMIN, password, checked=False)  # the operator's own choice
    key = ""
    if not settings.api_keys and not keys.all(DEFAULT):
        _, key = keys.add(DEFAULT, "first", ("admin",), FIRST_START)
    admin = users.get(ADMIN, DEFAULT)
    # Somebody with access to the log must not get lasting access: a password ends these links.
    return FirstStart(key, users.new_code(ADMIN) if admin and not admin.has_password else "")


def take_over(settings: Settings, keys: Keys, users: Users) -> None:
    """Move keys and password from an older secrets.json to state.db.

    They were in clear text there; only hashes are kept. A crash on the way is
    harmless: they leave the file last. Keys and passwords that the settings overruled were invalid,
    and stay so.
    """
    if not users.all(DEFAULT):
        with suppress(UserError):  # another process was quicker
            users.add(ADMIN, DEFAULT, "admin")
    path = settings.data_dir / "secrets.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    old = {name: stored.pop(name, None) for name in ("api_keys", "dashboard_password")}
    if not any(old.values()):
        return
    for secret in () if settings.api_keys else old["api_keys"] or ():
        keys.add(DEFAULT, "from secrets.json", ("admin",), "an upgrade", str(secret))
    known = users.get(ADMIN, DEFAULT)
    stands = bool(old["dashboard_password"]) and not settings.dashboard_password
    if stands and known and not known.has_password:
        users.set_password(ADMIN, str(old["dashboard_password"]), checked=False)
    write_private(path, (json.dumps(stored, indent=2) + "\n").encode())
