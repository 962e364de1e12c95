"""People who use the dashboard: each of one workspace, with a role, and a password by argon2id.

The hash's costs are argon2-cffi's defaults, the second recommended option of RFC 9106, section 4.
"""

import secrets
import time
from functools import cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.auth.workspaces import DEFAULT
from app.storage.tables import login_codes, sessions, users

Role = Literal["viewer", "editor", "admin"]
ROLES = get_args(Role)  # each may do what those before it may
HIGHEST = ROLES[-1]
ADMIN = "admin"  # the name of the first one
SHORTEST, LONGEST = 10, 200  # characters of a password
LONGEST_NAME = 100
CODE_SECONDS = 86_400

_hasher = PasswordHasher()


class UserError(ValueError):
    """A user that cannot be made or changed; the message names the field."""


class User(NamedTuple):
    """Who looks. `at` is in seconds since 1970 UTC."""

    name: str
    workspace: str
    role: str
    has_password: bool = False
    at: float = 0.0

    def may(self, role: str) -> bool:
        """Whether the role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Users:
    """All workspaces'. Names are unique among all. Blocking; passwords take some 50 ms."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, name: str, workspace: str, role: str, password: str = "") -> User:
        """A new one; without a password they come in by a login link. Raises UserError."""
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise UserError("name: must have 1 to 100 printable characters")
        if name == ADMIN and workspace != DEFAULT:
            raise UserError(f"name: {ADMIN!r} is reserved for the workspace `default`")
        if role not in ROLES:
            raise UserError(f"role: must be one of {', '.join(ROLES)}")
        hashed = _hasher.hash(_long(password)) if password else ""
        made = User(name, workspace, role, bool(password), time.time())
        row = {
            "name": name,
            "workspace": workspace,
            "role": role,
            "password": hashed,
            "at": made.at,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(users).values(row))
        except IntegrityError:
            raise UserError(f"name: {name!r} is already taken") from None
        return made

    def all(self, workspace: str) -> list[User]:
        """A workspace's, by name."""
        query = select(users).where(users.c.workspace == workspace).order_by(users.c.name)
        with self._engine.connect() as connection:
            return [_user(row) for row in connection.execute(query)]

    def get(self, name: str, workspace: str = "") -> User | None:
        """By name; with a workspace, only of that."""
        with self._engine.connect() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        found = _user(row) if row else None
        return found if found and workspace in ("", found.workspace) else None

    def remove(self, name: str) -> None:
        """With all sessions. Raises UserError where nobody could let others in any more."""
        gone = delete(users).where(users.c.name == name)
        with self._engine.begin() as connection:
            row = connection.execute(gone.returning(users.c.workspace, users.c.role)).first()
            if row and row.role == HIGHEST:
                _keep_an_admin(connection, row.workspace, name)

    def set_role(self, name: str, role: str) -> None:
        """Another role, from the next request on. Raises UserError, as `remove` does too."""
        if role not in ROLES:
            raise UserError(f"role: must be one of {', '.join(ROLES)}")
        own, was_admin = users.c.name == name, users.c.role == HIGHEST
        with self._engine.begin() as connection:
            change = update(users).values(role=role)
            row = connection.execute(
                change.where(own, was_admin).returning(users.c.workspace)
            ).first()
            if row and role != HIGHEST:
                _keep_an_admin(connection, row.workspace, name)
            connection.execute(change.where(own))

    def set_password(
        self, name: str, password: str, session: str = "", checked: bool = True
    ) -> None:
        """A new password. Every session ends but the one given. Raises UserError."""
        hashed = _hasher.hash(_long(password) if checked else password)
        with self._engine.begin() as connection:
            connection.execute(update(users).where(users.c.name == name).values(password=hashed))
            connection.execute(
                delete(sessions).where(sessions.c.user == name, sessions.c.id != session)
            )
            # The one that a link began could set a password without the old one: this once.
            connection.execute(
                update(sessions).where(sessions.c.id == session).values(by_link=False)
            )
            connection.execute(delete(login_codes).where(login_codes.c.user == name))

    def by_password(self, name: str, password: str) -> User | None:
        """Who it is, where name and password are right; as slow for names that nobody has."""
        with self._engine.connect() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        against = _nobody()  # names that are not known cost as much as wrong passwords do
        try:
            _hasher.verify(row.password if row and row.password else against, password)
        except (Argon2Error, InvalidHashError):
            return None
        if not row or not row.password:
            return None
        if _hasher.check_needs_rehash(row.password):  # the library's costs have changed
            with self._engine.begin() as connection:
                same = users.c.name == name, users.c.password == row.password
                new = _hasher.hash(password)
                connection.execute(update(users).where(*same).values(password=new))
        return _user(row)

    def new_code(self, name: str) -> str:
        """A code for one login within CODE_SECONDS."""
        code = secrets.token_urlsafe(24)
        until = time.time() + CODE_SECONDS
        with self._engine.begin() as connection:
            connection.execute(delete(login_codes).where(login_codes.c.until < time.time()))
            connection.execute(insert(login_codes).values(hash=_hash(code), user=name, until=until))
        return code

    def of_code(self, code: str) -> User | None:
        """Whose code it is, and would be when it is used."""
        query = select(login_codes.c.user).where(
            login_codes.c.hash == _hash(code), login_codes.c.until > time.time()
        )
        with self._engine.connect() as connection:
            name = connection.execute(query).scalar()
        return self.get(name) if name else None

    def by_code(self, code: str) -> User | None:
        """Whose code it is; it is used up by this, whichever process is asked."""
        with self._engine.begin() as connection:
            row = connection.execute(
                delete(login_codes)
                .where(login_codes.c.hash == _hash(code))
                .returning(login_codes.c.user, login_codes.c.until)
            ).first()
        return self.get(row.user) if row and row.until > time.time() else None


def _keep_an_admin(connection: Connection, workspace: str, name: str) -> None:
    """Raises UserError, which takes back what was done, unless somebody else is one."""
    query = select(users.c.name).where(users.c.workspace == workspace, users.c.role == HIGHEST)
    if connection.execute(query).first() is None:
        raise UserError(
            f"role: {name!r} is the last admin of workspace {workspace!r}. Make someone else an"
            " admin first."
        )


def _long(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"password: must have {SHORTEST} to {LONGEST} characters")
    return password


@cache
def _nobody() -> str:
    """Made at the first login: it takes too long for every command's start."""
    return _hasher.hash(secrets.token_hex(8))


def _hash(code: str) -> str:
    return sha256(code.encode("utf-8", "surrogateescape")).hexdigest()


def _user(row: Any) -> User:
    return User(row.name, row.workspace, row.role, bool(row.password), row.at)
