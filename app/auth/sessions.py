"""Keeps sessions of the dashboard: a random token in a cookie, its hash in state.db.

So a session can be seen and ended, by its user, by an administrator, or by a new password.
"""

import secrets
import time
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from app.auth.users import User, name_of
from app.storage.tables import login_codes, sessions, users

SECONDS = 30 * 86_400
MAX_SESSIONS = 100  # of a user: a further one ends the one that was used longest ago
NOTE_SECONDS = 60.0  # seconds between writes of when a session was last used


class Session(NamedTuple):
    """A session. `id` is the token's hash, `label` the browser's, `by_link` a login by link.

    Times are seconds since 1970 UTC.
    """

    id: str
    user: User
    label: str
    by_link: bool
    at: float
    seen: float
    ends: float


class Sessions:
    """Sessions of all users. Blocking, but quick."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, user: User, label: str, by_link: bool = False) -> str:
        """Begin a session; returns its token."""
        token, now = secrets.token_urlsafe(24), time.time()
        row = {
            "id": _hash(token),
            "user": user.account,
            "label": label[:100],
            "by_link": by_link,
            "at": now,
            "seen": now,
            "ends": now + SECONDS,
        }
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.ends < now))
            connection.execute(insert(sessions).values(row))
            own = select(sessions.c.id).where(sessions.c.user == user.account)
            newest = own.order_by(sessions.c.seen.desc()).limit(MAX_SESSIONS)
            connection.execute(
                delete(sessions).where(
                    sessions.c.user == user.account, sessions.c.id.not_in(newest)
                )
            )
        return token

    def find(self, token: str) -> Session | None:
        """Returns the session of a token, unless it has ended."""
        now = time.time()
        query = _SESSIONS.where(sessions.c.id == _hash(token), sessions.c.ends > now)
        with self._engine.connect() as connection:
            row = connection.execute(query).first() if token else None
        if row and now - row.seen > NOTE_SECONDS:
            self._see(row.id, now)
        return _session(row) if row else None

    def of(self, account: str) -> list[Session]:
        """Returns a user's sessions, the last used first."""
        query = _SESSIONS.where(sessions.c.user == account, sessions.c.ends > time.time())
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(sessions.c.seen.desc())).fetchall()
        return [_session(row) for row in rows]

    def end(self, account: str, session_id: str) -> None:
        """End one of a user's sessions."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(sessions).where(sessions.c.user == account, sessions.c.id == session_id)
            )

    def end_all(self, account: str) -> int:
        """End all of a user's sessions and login links; returns how many sessions there were."""
        with self._engine.begin() as connection:
            connection.execute(delete(login_codes).where(login_codes.c.user == account))
            return connection.execute(delete(sessions).where(sessions.c.user == account)).rowcount

    def _see(self, session_id: str, now: float) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    update(sessions).where(sessions.c.id == session_id).values(seen=now)
                )
        except SQLAlchemyError:
            return  # most requests need no write


_SESSIONS = select(
    sessions,
    users.c.name,
    users.c.workspace,
    users.c.role,
    users.c.password,
    users.c.at.label("user_at"),
).join(users, users.c.name == sessions.c.user)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _session(row: Any) -> Session:
    name, has_password = name_of(row.name), bool(row.password)
    user = User(name, row.workspace, row.role, has_password, row.user_at, row.name)
    return Session(
        id=row.id,
        user=user,
        label=row.label,
        by_link=row.by_link,
        at=row.at,
        seen=row.seen,
        ends=row.ends,
    )
