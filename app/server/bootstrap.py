"""The first start: a key and a user to begin with; and what an older secrets.json still holds."""

import json
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Engine

from app.auth.api_keys import Keys
from app.auth.users import ADMIN, UserError, Users
from app.auth.workspaces import DEFAULT
from app.files import write_private
from app.settings.settings import Settings


class FirstStart(NamedTuple):
    """What is said: the first key, empty where there was one; `code` logs `admin` in once.

    It is empty once `admin` has a password.
    """

    key: str
    code: str


def bootstrap(settings: Settings, state: Engine) -> FirstStart:
    """Make what is missing. Call it once, before anything is served."""
    keys, users = Keys(state, settings), Users(state)
    take_over(settings, keys, users)
    admin, wanted = users.get(ADMIN, DEFAULT), settings.dashboard_password
    if wanted and admin and users.by_password(ADMIN, wanted) is None:
        users.set_password(ADMIN, wanted, checked=False)  # the operator's own choice
    key = ""
    if not settings.api_keys and not keys.all(DEFAULT):
        _, key = keys.add(DEFAULT, "first", ("admin",), "the first start")
    admin = users.get(ADMIN, DEFAULT)
    # Who reads the log of a start must not come in for good: a password ends these links.
    return FirstStart(key, users.new_code(ADMIN) if admin and not admin.has_password else "")


def take_over(settings: Settings, keys: Keys, users: Users) -> None:
    """Keys and password stood in secrets.json as they are; now `admin` and their hashes are kept.

    A crash on the way is harmless: they leave the file last. Those that the settings overruled were
    good for nothing, and stay so.
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
