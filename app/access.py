"""Who may see the dashboard: sessions in signed cookies, a password, one-time login links."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request

COOKIE = "mailwake_session"
SESSION_SECONDS = 30 * 86_400
CODE_SECONDS = 86_400
FREE_TRIES = 5  # wrong passwords of one address before it must wait
WAIT_SECONDS = 60
REMEMBERED = 10_000  # addresses with wrong passwords


class ThrottledError(Exception):
    """Too many wrong passwords; `seconds` says how long to wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many tries, wait {seconds} seconds")
        self.seconds = seconds


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class Access:
    """Sessions of the one dashboard user; changing the password ends them all."""

    def __init__(self, secret_keys: Sequence[str], password: str) -> None:
        # itsdangerous signs with the last key and verifies with all; ours signs with the first.
        self._serializer = URLSafeTimedSerializer(list(reversed(secret_keys)), salt="session")
        self._password = password.encode()
        self._mark = hashlib.sha256(b"session" + self._password).hexdigest()[:16]
        self._codes: dict[str, float] = {}
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def new_login_code(self) -> str:
        """A code for one login within CODE_SECONDS."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = time.monotonic() + CODE_SECONDS
        return code

    def by_code(self, code: str) -> str | None:
        """The session of a login code, which is used up by it."""
        valid_until = self._codes.pop(code, 0.0)
        return self._session() if time.monotonic() < valid_until else None

    def by_password(self, password: str, address: str) -> str | None:
        """The session of the right password. Raises ThrottledError after many wrong ones."""
        tries, last = self._wrong.get(address, (0, 0.0))
        wait = last + WAIT_SECONDS - time.monotonic()
        if tries >= FREE_TRIES and wait > 0:
            raise ThrottledError(int(wait) + 1)
        if hmac.compare_digest(password.encode(), self._password):
            self._wrong.pop(address, None)
            return self._session()
        self._wrong[address] = (tries + 1, time.monotonic())
        self._wrong.move_to_end(address)
        if len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)
        return None

    def valid(self, session: str) -> bool:
        """Whether a cookie's value is a session that has not ended."""
        try:
            mark = self._serializer.loads(session, max_age=SESSION_SECONDS)
        except BadSignature:
            return False
        return isinstance(mark, str) and hmac.compare_digest(mark, self._mark)

    def _session(self) -> str:
        session = self._serializer.dumps(self._mark)
        return session if isinstance(session, str) else session.decode("ascii")


def local_path(path: str) -> str:
    """Where to go after login: `path` if it stays on this site, else the front page."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else "/"


def same_site(request: Request) -> None:
    """Refuse a POST that another site's page has made (Fetch metadata, else Origin)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        ours = urlsplit(origin).netloc == request.headers.get("host")  # `null` has no netloc
    else:
        ours = site in (None, "same-origin", "none")
    if not ours:
        raise ForeignPostError
