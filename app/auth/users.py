"""Keeps users of the dashboard: each of one workspace, with a role and an argon2id password.

The hash's costs are argon2-cffi's defaults, the second recommended option of RFC 9106, section 4.
"""

import re
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.auth.workspaces import DEFAULT
from app.settings.secret_strength import weakness
from app.storage.row_limits import limit_reached
from app.storage.tables import login_codes, sessions, users

Role = Literal["viewer", "editor", "admin"]
ROLES = get_args(Role)  # each includes those before it
HIGHEST = ROLES[-1]
ADMIN = "admin"  # the name of the first user
LONGEST = 200  # characters of a password
LONGEST_NAME = 100
MAX_USERS = 1_000  # of a workspace
CODE_SECONDS = 86_400
MAX_CODES = 20  # login links of a user: a further one ends the oldest
SEPARATOR = "\x1f"  # not printable, so no name contains it

_hasher = PasswordHasher()


class UserError(ValueError):
    """A user cannot be created or changed; the message names the field."""


class User(NamedTuple):
    """A user; `at` is in seconds since 1970 UTC.

    `account` identifies the user among those of all workspaces, which may have the same name.
    """

    name: str
    workspace: str
    role: str
    has_password: bool = False
    at: float = 0.0
    account: str = ""

    def may(self, role: str) -> bool:
        """Returns whether the role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Users:
    """All workspaces' users. Blocking; passwords take some 50 ms.

    A name is unique in its workspace: were it unique among all, an answer would reveal which names
    other workspaces have. The account of a name that another workspace has used before is the name,
    SEPARATOR and the workspace.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, name: str, workspace: str, role: str, password: str = "") -> User:
        """Create a user, who without a password needs a login link. Raises UserError."""
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise UserError("name: must have 1 to 100 printable characters")
        if name == ADMIN and workspace != DEFAULT:
            raise UserError(f"name: {ADMIN!r} is reserved for the workspace `default`")
        if role not in ROLES:
            raise UserError(f"role: must be one of {', '.join(ROLES)}")
        hashed = _hasher.hash(_strong(password, name)) if password else ""
        at = time.time()
        row = {"workspace": workspace, "role": role, "password": hashed, "at": at}
        for account in (name, f"{name}{SEPARATOR}{workspace}"):
            with suppress(IntegrityError), self._engine.begin() as connection:
                if problem := limit_reached(connection, users, workspace, MAX_USERS):
                    raise UserError(f"name: no further user can be added: {problem}")
                if self.get(name, workspace) is None:
                    connection.execute(insert(users).values(name=account, **row))
                    return User(name, workspace, role, bool(password), at, account)
        raise UserError(f"name: {name!r} is already taken")

    def all(self, workspace: str) -> list[User]:
        """Returns a workspace's users, by name."""
        query = select(users).where(users.c.workspace == workspace).order_by(users.c.name)
        with self._engine.connect() as connection:
            return [_user(row) for row in connection.execute(query)]

    def get(self, name: str, workspace: str = "") -> User | None:
        """Returns a user by name, if given only from that workspace."""
        return next((user for user in self.named(name) if workspace in ("", user.workspace)), None)

    def named(self, name: str) -> list[User]:
        """Returns the users of a name in all workspaces."""
        return [_user(row) for row in self._named(name)]

    def _named(self, name: str) -> Sequence[Any]:
        """Returns the rows of a name in all workspaces, the shortest account first."""
        longer = users.c.name.startswith(f"{name}{SEPARATOR}", autoescape=True)
        query = select(users).where((users.c.name == name) | longer).order_by(users.c.name)
        with self._engine.connect() as connection:
            return connection.execute(query).fetchall()

    def remove(self, account: str) -> None:
        """Delete a user with all sessions. Raises UserError if no administrator would remain."""
        statement = delete(users).where(users.c.name == account)
        with self._engine.begin() as connection:
            row = connection.execute(statement.returning(users.c.workspace, users.c.role)).first()
            if row and row.role == HIGHEST:
                _keep_an_admin(connection, row.workspace, account)

    def set_role(self, account: str, role: str) -> None:
        """Change the role, from the next request on. Raises UserError, as `remove` does."""
        if role not in ROLES:
            raise UserError(f"role: must be one of {', '.join(ROLES)}")
        own, was_admin = users.c.name == account, users.c.role == HIGHEST
        with self._engine.begin() as connection:
            change = update(users).values(role=role)
            row = connection.execute(
                change.where(own, was_admin).returning(users.c.workspace)
            ).first()
            if row and role != HIGHEST:
                _keep_an_admin(connection, row.workspace, account)
            connection.execute(change.where(own))

    def set_password(
        self, account: str, password: str, session: str = "", checked: bool = True
    ) -> None:
        """Set a password and end every session but the given one. Raises UserError."""
        hashed = _hasher.hash(_strong(password, name_of(account)) if checked else password)
        with self._engine.begin() as connection:
            connection.execute(update(users).where(users.c.name == account).values(password=hashed))
            connection.execute(
                delete(sessions).where(sessions.c.user == account, sessions.c.id != session)
            )
            # A session that a link began can set a password without the old one, but only once.
            connection.execute(
                update(sessions).where(sessions.c.id == session).values(by_link=False)
            )
            connection.execute(delete(login_codes).where(login_codes.c.user == account))

    def by_password(self, name: str, password: str, account: str = "") -> User | None:
        """Returns the user if name and password are right; unknown names take as long.

        With `account` no other user of the name will do.
        """
        named = (row for row in self._named(name) if account in ("", row.name))
        rows = [row for row in named if row.password]
        row = next((row for row in rows if _verify(row.password, password)), None)
        if row is None:
            if not rows:  # unknown names cost as much as wrong passwords
                _verify(_dummy_hash(), password)
            return None
        if _hasher.check_needs_rehash(row.password):  # the library's costs have changed
            with self._engine.begin() as connection:
                same = users.c.name == row.name, users.c.password == row.password
                new = _hasher.hash(password)
                connection.execute(update(users).where(*same).values(password=new))
        return _user(row)

    def new_code(self, account: str) -> str:
        """Create a code for one login within CODE_SECONDS."""
        code = secrets.token_urlsafe(24)
        until = time.time() + CODE_SECONDS
        with self._engine.begin() as connection:
            connection.execute(delete(login_codes).where(login_codes.c.until < time.time()))
            connection.execute(
                insert(login_codes).values(hash=_hash(code), user=account, until=until)
            )
            codes = select(login_codes.c.hash).where(login_codes.c.user == account)
            newest = codes.order_by(login_codes.c.until.desc()).limit(MAX_CODES)
            connection.execute(
                delete(login_codes).where(
                    login_codes.c.user == account, login_codes.c.hash.not_in(newest)
                )
            )
        return code

    def of_code(self, code: str) -> User | None:
        """Returns the user of a code without using it up."""
        query = select(login_codes.c.user).where(
            login_codes.c.hash == _hash(code), login_codes.c.until > time.time()
        )
        with self._engine.connect() as connection:
            account = connection.execute(query).scalar()
        return self._of(account) if account else None

    def by_code(self, code: str) -> User | None:
        """Returns the user of a code and uses it up, whichever process is asked."""
        with self._engine.begin() as connection:
            row = connection.execute(
                delete(login_codes)
                .where(login_codes.c.hash == _hash(code))
                .returning(login_codes.c.user, login_codes.c.until)
            ).first()
        return self._of(row.user) if row and row.until > time.time() else None

    def _of(self, account: str) -> User | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(users).where(users.c.name == account)).first()
        return _user(row) if row else None


def _keep_an_admin(connection: Connection, workspace: str, account: str) -> None:
    """Raises UserError, which rolls the transaction back, if no administrator would remain."""
    query = select(users.c.name).where(users.c.workspace == workspace, users.c.role == HIGHEST)
    if connection.execute(query).first() is None:
        raise UserError(
            f"role: {name_of(account)!r} is the last admin of workspace {workspace!r}. Make someone"
            " else an admin first."
        )


def _strong(password: str, name: str) -> str:
    if len(password) > LONGEST:
        raise UserError(f"password: must have at most {LONGEST} characters")
    if problem := weakness(password, *re.split(r"\W+", name)):
        raise UserError(f"password: {problem}")
    return password


def _verify(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    """Returns a hash, computed at the first login: it takes too long for every command's start."""
    return _hasher.hash(secrets.token_hex(8))


def _hash(code: str) -> str:
    return sha256(code.encode("utf-8", "surrogateescape")).hexdigest()


def name_of(account: str) -> str:
    """Returns the name of an account."""
    return account.partition(SEPARATOR)[0]


def _user(row: Any) -> User:
    at, has_password = row.at, bool(row.password)
    return User(name_of(row.name), row.workspace, row.role, has_password, at, row.name)
