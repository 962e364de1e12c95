"""Getting into the dashboard: cookies, forms that are ours, and patience with wrong passwords."""

import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from app.agents import agent
from app.sessions import SECONDS

FREE_TRIES = 5  # wrong passwords from one address before it must wait
FREE_TRIES_OF_NAME = 20  # and for one name, from wherever they come
WAIT_SECONDS = 60
REMEMBERED = 10_000  # addresses and names with wrong passwords
SESSION, FORM = "mailwake_session", "mailwake_form"
CSRF = "csrf"  # the field of every form


class ThrottledError(Exception):
    """Too many wrong passwords; `seconds` says how long to wait."""

    def __init__(self, seconds: int) -> None:
        self.seconds, self.told = seconds, f"Too many tries. Wait {seconds} seconds."
        super().__init__(self.told)


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class StaleFormError(ForeignPostError):
    """A form that is not of this session: mostly one that was open for long."""


class Throttle:
    """Counts wrong passwords by address and by name, in this process."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def check(self, address: str, name: str) -> None:
        """Raises ThrottledError where one of them must wait."""
        address = neighbourhood(address)
        for key, free in ((("address", address), FREE_TRIES), (("name", name), FREE_TRIES_OF_NAME)):
            tries, last = self._wrong.get(key, (0, 0.0))
            wait = last + WAIT_SECONDS - time.monotonic()
            if tries >= free and wait > 0:
                raise ThrottledError(int(wait) + 1)

    def wrong(self, address: str, name: str) -> None:
        """A password was wrong."""
        address = neighbourhood(address)
        for key in (("address", address), ("name", name)):
            tries, last = self._wrong.get(key, (0, 0.0))
            known = tries if time.monotonic() - last < WAIT_SECONDS else 0
            self._wrong[key] = (known + 1, time.monotonic())
            self._wrong.move_to_end(key)
        while len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)

    def right(self, address: str, name: str) -> None:
        """A password was right."""
        self._wrong.pop(("address", neighbourhood(address)), None)
        self._wrong.pop(("name", name), None)


def neighbourhood(address: str) -> str:
    """An address as it is counted: of IPv6, whoever has one has its /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def cookie(request: Request, name: str) -> str:
    """A cookie of ours; over https only under its guarded name (RFC 6265bis, section 4.1.3.2)."""
    return request.cookies.get(_guarded(request, name), "")


def set_cookie(
    request: Request, response: Response, name: str, value: str, seconds: int | None = SECONDS
) -> None:
    """Not to be read by scripts, nor sent along with other sites' forms."""
    secure = request.url.scheme == "https"
    response.set_cookie(
        _guarded(request, name), value, seconds, httponly=True, samesite="lax", secure=secure
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    """Have the browser forget it."""
    secure = request.url.scheme == "https"
    response.delete_cookie(_guarded(request, name), secure=secure, httponly=True, samesite="lax")


def _guarded(request: Request, name: str) -> str:
    return f"__Host-{name}" if request.url.scheme == "https" else name


def new_secret() -> str:
    """What a form is bound to where there is no session yet."""
    return secrets.token_urlsafe(18)


def csrf(secret: str) -> str:
    """What a form carries to show that it is ours: it follows from a cookie and gives none away."""
    return sha256(f"form {secret}".encode()).hexdigest()[:32]


async def check_form(request: Request, secret: str) -> None:
    """Raises ForeignPostError or StaleFormError unless Fetch metadata and token say it is ours.

    The form can be read again afterwards.
    """
    same_site(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise StaleFormError  # none of ours is; it may name a charset that decodes to anything
    form = await request.form(max_files=0, max_fields=100, max_part_size=65_536)
    given = str(form.get(CSRF, "")).encode("utf-8", "replace")
    if not secret or not hmac.compare_digest(given, csrf(secret).encode()):
        raise StaleFormError


def same_site(request: Request) -> None:
    """Refuse a POST that another site's page has made (Fetch metadata, else Origin)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        ours = urlsplit(origin).netloc == request.headers.get("host")  # `null` has no netloc
    else:
        ours = site in (None, "same-origin", "none")
    if not ours:
        raise ForeignPostError


def browser(request: Request) -> str:
    """A short name of the visitor's browser, such as Firefox on Linux."""
    found = agent(request.headers.get("user-agent", ""))
    return f"{found.client or 'A browser'}{f' on {found.os}' if found.os else ''}"


def local_path(path: str) -> str:
    """Where to go after login: `path` if it stays on this site, else the front page."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else "/"
