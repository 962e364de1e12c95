"""Keeps which browsers a user has logged in with: a random token in a cookie, its hash in state.db.

A known device gives no access; it is only spared the limits that strangers' guesses cause.
"""

import secrets
import time
from hashlib import sha256

from sqlalchemy import Engine, delete, insert, select

from app.auth.users import name_of
from app.storage.tables import known_devices

DEVICE_SECONDS = 180 * 86_400
MAX_DEVICES = 50  # of one user; the newest stay


class Devices:
    """Known devices of all users. Blocking, but quick."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, account: str) -> str:
        """Add a device of a user; returns its token, which is not stored."""
        table, now, token = known_devices, time.time(), secrets.token_urlsafe(24)
        row = {"id": _hash(token), "user": account, "ends": now + DEVICE_SECONDS}
        newest = select(table.c.id).where(table.c.user == account).order_by(table.c.ends.desc())
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(row))
            connection.execute(delete(table).where(table.c.ends < now))
            connection.execute(
                delete(table).where(
                    table.c.user == account, table.c.id.not_in(newest.limit(MAX_DEVICES))
                )
            )
        return token

    def known(self, token: str, name: str) -> str:
        """Returns the ID of a token's device, or "" if no user of that name has it."""
        table = known_devices.c
        query = select(table.id, table.user).where(
            table.id == _hash(token), table.ends > time.time()
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first() if token else None
        return str(row.id) if row and name_of(row.user) == name else ""


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
