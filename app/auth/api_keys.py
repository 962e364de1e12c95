"""Keeps API keys as hashes in state.db, each for one workspace and some scopes.

A key is 192 random bits, so a plain SHA-256 suffices: a slow hash would only make guessing dearer,
and nothing can be guessed. The keys of MAILWAKE_API_KEYS are the operator's own and are never
written.
"""

import asyncio
import secrets
import time
from collections.abc import Collection
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Engine, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.auth import first_login
from app.auth.workspaces import DEFAULT
from app.settings.settings import PREFIX, Settings
from app.storage.row_limits import limit_reached
from app.storage.tables import api_keys

Scope = Literal["rewrite", "outcomes", "read", "admin"]
SCOPES = get_args(Scope)
POLL_SECONDS = 1.0  # seconds for which keys are cached: a revoked one ends within them
MAX_KEYS = 1_000  # of a workspace that are not revoked
NOTE_SECONDS = 60.0  # seconds between writes of when keys were used
FIRST_START = "the first start"  # who has created the first key


class KeyNameError(ValueError):
    """A key cannot be created; the message names the field."""


class Key(NamedTuple):
    """A key. `admin` includes the other scopes; `hint` is its beginning. Seconds since 1970 UTC."""

    id: str
    workspace: str
    name: str
    scopes: frozenset[str]
    hint: str = ""
    by: str = ""
    at: float = 0.0
    used: float | None = None
    revoked: float | None = None

    def may(self, scope: str) -> bool:
        """Returns whether the key has a scope."""
        return scope in self.scopes or "admin" in self.scopes


class Keys:
    """All workspaces' keys. Blocking, but quick: `find` reads a key's row at most once a second."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._data_dir = engine, settings.data_dir
        everything = frozenset({"admin"})
        self._set = {
            _hash(key): Key("settings", DEFAULT, f"{PREFIX}API_KEYS", everything, _hint(key))
            for key in settings.api_keys
        }
        self._known: dict[str, tuple[Key, float]] = {}
        self._used: dict[str, float] = {}

    def add(
        self, workspace: str, name: str, scopes: Collection[str], by: str, secret: str = ""
    ) -> tuple[Key, str]:
        """Create a key; returns it and its secret, which is not stored. Raises KeyNameError."""
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise KeyNameError("name: must have 1 to 100 printable characters")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise KeyNameError(f"scopes: must be one or more of {', '.join(SCOPES)}")
        secret = secret or "mw_" + secrets.token_urlsafe(24)
        key = Key(
            id=f"key_{secrets.token_hex(6)}",
            workspace=workspace,
            name=name,
            scopes=frozenset(scopes),
            hint=_hint(secret),
            by=by,
            at=time.time(),
        )
        with self._engine.begin() as connection:
            valid = api_keys.c.revoked.is_(None)
            if problem := limit_reached(connection, api_keys, workspace, MAX_KEYS, valid):
                raise KeyNameError(f"name: no further key can be created: {problem}")
            connection.execute(
                insert(api_keys)
                .values(
                    id=key.id,
                    workspace=workspace,
                    name=name,
                    hash=_hash(secret),
                    hint=key.hint,
                    scopes=" ".join(sorted(scopes)),
                    at=key.at,
                    by=by,
                )
                .on_conflict_do_nothing()
            )
        return key, secret

    def all(self, workspace: str) -> list[Key]:
        """Returns a workspace's keys, the newest first, also revoked ones, not the settings'."""
        query = select(api_keys).where(api_keys.c.workspace == workspace)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(api_keys.c.at.desc())).fetchall()
        return [_key(row) for row in rows]

    def any(self, workspace: str) -> bool:
        """Returns whether a workspace has a valid key."""
        return any(key.workspace == workspace for key in self._set.values()) or any(
            not key.revoked for key in self.all(workspace)
        )

    def revoke(self, workspace: str, key_id: str) -> bool:
        """Revoke a key for good; returns whether there was one."""
        with self._engine.begin() as connection:
            done = connection.execute(
                update(api_keys)
                .where(
                    api_keys.c.workspace == workspace,
                    api_keys.c.id == key_id,
                    api_keys.c.revoked.is_(None),
                )
                .values(revoked=time.time())
            )
        self._known.clear()
        return bool(done.rowcount)

    async def found(self, secret: str) -> Key | None:
        """Returns the same as `find`; the event loop does not wait for the state meanwhile."""
        digest = _hash(secret)
        if digest in self._set or self._is_fresh(digest):
            return self.find(secret)
        return await asyncio.to_thread(self.find, secret)

    def _is_fresh(self, digest: str) -> bool:
        _, at = self._known.get(digest, (None, -POLL_SECONDS))
        return time.monotonic() - at < POLL_SECONDS

    def find(self, secret: str) -> Key | None:
        """Returns the key of a secret, as last known while the state is unavailable. Blocking."""
        digest = _hash(secret)
        key = self._set.get(digest) or self._look(digest)
        if key:
            if key.by == FIRST_START and key.id not in self._used:
                first_login.remove(self._data_dir)
            self._used[key.id] = time.time()
        return key

    async def run(self) -> None:
        """Write regularly when keys were used, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(NOTE_SECONDS)
                await asyncio.to_thread(self.note_uses)
        finally:
            self.note_uses()

    def note_uses(self) -> None:
        """Write when keys were last used, in any process; after a failure, write later."""
        used, last = dict(self._used), api_keys.c.used
        try:
            with self._engine.begin() as connection:
                for key_id, at in used.items():
                    own = (api_keys.c.id == key_id, or_(last.is_(None), last < at))
                    connection.execute(update(api_keys).where(*own).values(used=at))
        except OperationalError:
            return
        for key_id, at in used.items():  # other threads add uses meanwhile
            if self._used.get(key_id) == at:
                self._used.pop(key_id, None)

    def _look(self, digest: str) -> Key | None:
        key, _ = self._known.get(digest, (None, 0.0))
        if self._is_fresh(digest):
            return key
        query = select(api_keys).where(api_keys.c.hash == digest, api_keys.c.revoked.is_(None))
        try:
            with self._engine.connect() as connection:
                row = connection.execute(query).first()
        except SQLAlchemyError:
            return key
        if row is None:
            self._known.pop(digest, None)
            return None
        key = _key(row)
        self._known[digest] = key, time.monotonic()
        return key


def local_key(workspace: str) -> Key:
    """Returns the key of commands that reach the service by its Unix socket."""
    return Key("local", workspace, "a command on this machine", frozenset({"admin"}))


def _hint(secret: str) -> str:
    """Returns a key's beginning, too short to guess the rest."""
    return secret[:6] if len(secret) >= 24 else secret[:1]


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _key(row: Any) -> Key:
    return Key(
        id=row.id,
        workspace=row.workspace,
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        hint=row.hint,
        by=row.by,
        at=row.at,
        used=row.used,
        revoked=row.revoked,
    )
