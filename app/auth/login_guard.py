"""Slows down guesses of passwords, in whichever process they arrive, and locks no user out.

Wrong passwords are counted in state.db:

- for a name from one IP address, which must wait twice as long after each;
- for an IP address whatever the name, which must wait between two tries after many;
- for a name wherever they come from, which after many is answered later, but always answered: so
  strangers can delay its user's login by seconds, and not prevent it.

A browser in which the user has logged in before is a known device. It has a count of its own, and
the others do not concern it (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). A
correct password resets the count of its name from its IP address or device and no other.
"""

import asyncio
import ipaddress
import time
from hashlib import sha256

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.auth.devices import Devices
from app.auth.users import LONGEST_NAME, User, Users
from app.storage.tables import login_failures

FREE_TRIES = 5  # wrong passwords for a name from one IP address before it must wait
WAIT_SECONDS, MAX_WAIT_SECONDS = 60, 900  # the first wait, and the longest
FREE_TRIES_OF_ADDRESS = 30  # wrong passwords from one IP address within an hour
FREE_TRIES_OF_NAME = 20  # wrong passwords for one name within an hour
DELAY_SECONDS, MAX_DELAY_SECONDS = 0.25, 4.0  # the first delay of an answer, and the longest
FORGET_SECONDS = 3600  # seconds since the last wrong password after which a count ends


class ThrottledError(Exception):
    """Too many wrong passwords; `seconds` is how long to wait."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.message = f"Too many failed logins. Try again in {seconds} seconds."
        super().__init__(self.message)


class LoginThrottle:
    """Counts wrong passwords in state.db. Blocking. `device` is the ID of a known one, or ""."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(self, address: str, name: str, device: str = "") -> None:
        """Raises ThrottledError if the name must wait there, or the IP address."""
        own, by_address, _ = _subjects(address, name, device)
        known, now = self._counts(own, by_address), time.time()
        tries, last = known.get(own, (0, 0.0))
        wait = 0.0
        if tries >= FREE_TRIES:
            wait = last + _doubled(WAIT_SECONDS, tries - FREE_TRIES, MAX_WAIT_SECONDS) - now
        tries, last = known.get(by_address, (0, 0.0))
        if tries >= FREE_TRIES_OF_ADDRESS and not device:
            wait = max(wait, last + WAIT_SECONDS - now)
        if wait > 0:
            raise ThrottledError(int(wait) + 1)

    def delay(self, name: str, device: str = "") -> float:
        """Returns the seconds by which an answer to a password for the name is delayed."""
        _, _, by_name = _subjects("", name, device)
        tries, _ = self._counts(by_name).get(by_name, (0, 0.0))
        if tries < FREE_TRIES_OF_NAME or device:
            return 0.0
        return _doubled(DELAY_SECONDS, tries - FREE_TRIES_OF_NAME, MAX_DELAY_SECONDS)

    def wrong(self, address: str, name: str, device: str = "") -> None:
        """Record a wrong password."""
        table, now = login_failures, time.time()
        own, *others = _subjects(address, name, device)
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.last <= now - FORGET_SECONDS))
            for whose in (own,) if device else (own, *others):
                statement = insert(table).values(whose=whose, tries=1, last=now)
                more = {"tries": table.c.tries + 1, "last": now}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["whose"], set_=more)
                )

    def right(self, address: str, name: str, device: str = "") -> None:
        """Record a correct password."""
        own, *_ = _subjects(address, name, device)
        with self._engine.begin() as connection:
            connection.execute(delete(login_failures).where(login_failures.c.whose == own))

    def _counts(self, *subjects: str) -> dict[str, tuple[int, float]]:
        """Returns the number of wrong passwords, and when the last one was, by subject."""
        table, now = login_failures.c, time.time()
        query = select(table.whose, table.tries, table.last).where(
            table.whose.in_(subjects),
            # A time in the future is from a wrong clock, and would be waited for.
            table.last.between(now - FORGET_SECONDS, now),
        )
        with self._engine.connect() as connection:
            return {row.whose: (row.tries, row.last) for row in connection.execute(query)}


def _subjects(address: str, name: str, device: str) -> tuple[str, str, str]:
    """Returns what is counted, hashed so that a copy of the file names no visitor.

    These are the name from its IP address or device, the IP address and the name, the last two by
    the hour: in an office somebody always mistypes, and no count would ever end.
    """
    network, hour = neighbourhood(address), int(time.time() // FORGET_SECONDS)
    place = f"device {device}" if device else f"address {network}"
    subjects = f"{place} name {name}", f"address {network} hour {hour}", f"name {name} hour {hour}"
    own, by_address, by_name = (
        sha256(subject.encode("utf-8", "replace")).hexdigest() for subject in subjects
    )
    return own, by_address, by_name


def _doubled(first: float, times: int, most: float) -> float:
    return min(first * 2.0 ** min(times, 32), most)


def neighbourhood(address: str) -> str:
    """Returns an IP address as it is counted: of IPv6 its /64, which one client may own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


CONCURRENT_CHECKS = 2  # passwords checked at a time: each takes 64 MiB


MAX_PASSWORD_CHARS = 1024  # characters of a password that are checked


class LoginGuard:
    """Checks passwords in one process; wrong ones are counted for all processes."""

    def __init__(self, users: Users, throttle: LoginThrottle, devices: Devices) -> None:
        self._users, self._throttle, self._devices = users, throttle, devices
        self._checking = asyncio.Semaphore(CONCURRENT_CHECKS)

    async def check(
        self, name: str, password: str, address: str, token: str = "", account: str = ""
    ) -> User | None:
        """Returns the user, or None if name and password do not match. Raises ThrottledError.

        `token` is that of the browser's device. With `account` no other user of the name will do.
        """
        name = name[: LONGEST_NAME + 1]  # limits what is stored
        device = await asyncio.to_thread(self._devices.known, token, name)
        await asyncio.sleep(await asyncio.to_thread(self._throttle.delay, name, device))
        async with self._checking:
            return await asyncio.to_thread(
                self._check, name, password[:MAX_PASSWORD_CHARS], address, device, account
            )

    def remember(self, user: User, token: str) -> str:
        """Make the browser a known device of a user who has logged in; returns its new token.

        Returns "" if it was one before. Blocking.
        """
        known = self._devices.known(token, user.name)
        return "" if known else self._devices.add(user.account)

    def _check(
        self, name: str, password: str, address: str, device: str, account: str
    ) -> User | None:
        self._throttle.check(address, name, device)
        user = self._users.by_password(name, password, account)
        if user is None:
            self._throttle.wrong(address, name, device)
        elif (
            account or len(self._users.named(name)) == 1
        ):  # else it is not known whose the tries were
            self._throttle.right(address, name, device)
        return user
