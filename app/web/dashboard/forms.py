"""Getting into the dashboard: cookies, and forms that are ours."""

import hmac
import secrets
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from app.auth.sessions import SECONDS
from app.ingest.user_agents import agent

SESSION, FORM = "mailwake_session", "mailwake_form"
CSRF = "csrf"  # the field of every form


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class StaleFormError(ForeignPostError):
    """A form that is not of this session: mostly one that was open for long."""


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
