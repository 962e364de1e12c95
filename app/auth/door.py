"""Where passwords are checked: a few at a time, and with patience for wrong ones."""

import asyncio

from app.auth.login_guard import LoginThrottle
from app.auth.users import LONGEST_NAME, User, Users

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
