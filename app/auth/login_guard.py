"""Patience with wrong passwords: whoever gave too many must wait, whichever process is asked."""

import asyncio
import ipaddress
import time
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.sqlite import insert

from app.auth.users import LONGEST_NAME, User, Users
from app.storage.tables import login_failures

FREE_TRIES = 5  # wrong passwords from one address before it must wait
FREE_TRIES_OF_NAME = 20  # and for one name, from wherever they come
WAIT_SECONDS = 60


class ThrottledError(Exception):
    """Too many wrong passwords; `seconds` says how long to wait."""

    def __init__(self, seconds: int) -> None:
        self.seconds, self.message = (
            seconds,
            f"Too many failed logins. Try again in {seconds} seconds.",
        )
        super().__init__(self.message)


class LoginThrottle:
    """Counts wrong passwords by address and by name, in state.db. Blocking."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self, address: str, name: str) -> None:
        """Raises ThrottledError where one of them must wait."""
        table, (by_address, by_name) = login_failures.c, _whose(address, name)
        with self._engine.connect() as connection:
            rows: Any = connection.execute(
                select(table.whose, table.tries, table.last).where(
                    table.whose.in_((by_address, by_name))
                )
            )
            for row in rows:
                free = FREE_TRIES if row.whose == by_address else FREE_TRIES_OF_NAME
                wait = row.last + WAIT_SECONDS - time.time()
                if row.tries >= free and wait > 0:
                    raise ThrottledError(int(wait) + 1)

    def wrong(self, address: str, name: str) -> None:
        """A password was wrong."""
        table, now = login_failures, time.time()
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.last <= now - WAIT_SECONDS))
            for whose in _whose(address, name):
                one = insert(table).values(whose=whose, tries=1, last=now)
                more = {"tries": table.c.tries + 1, "last": now}
                connection.execute(one.on_conflict_do_update(["whose"], set_=more))

    def right(self, address: str, name: str) -> None:
        """A password was right."""
        table = login_failures
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.whose.in_(_whose(address, name))))


def _whose(address: str, name: str) -> tuple[str, str]:
    """As they are remembered, for a minute: a dump of the file gives no visitor's address away."""
    given = f"address {neighbourhood(address)}", f"name {name}"
    by_address, by_name = (sha256(one.encode("utf-8", "replace")).hexdigest() for one in given)
    return by_address, by_name


def neighbourhood(address: str) -> str:
    """An address as it is counted: of IPv6, whoever has one has its /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


CONCURRENT_CHECKS = 2  # passwords checked at a time: each takes 64 MiB


MAX_PASSWORD_CHARS = 1024  # characters that are looked at


class LoginGuard:
    """Of one process; wrong passwords are counted for all."""

    def __init__(self, users: Users, throttle: LoginThrottle) -> None:
        self._users, self._throttle = users, throttle
        self._checking = asyncio.Semaphore(CONCURRENT_CHECKS)

    async def check(self, name: str, password: str, address: str) -> User | None:
        """Who it is, None where name and password do not match. Raises ThrottledError."""
        name = name[: LONGEST_NAME + 1]  # so that what is remembered is small
        async with self._checking:
            return await asyncio.to_thread(
                self._check, name, password[:MAX_PASSWORD_CHARS], address
            )

    def _check(self, name: str, password: str, address: str) -> User | None:
        self._throttle.check(address, name)
        user = self._users.by_password(name, password)
        if user is None:
            self._throttle.wrong(address, name)
        else:
            self._throttle.right(address, name)
        return user
