"""Getting into the dashboard: cookies, and forms that are ours."""

import hmac
import secrets
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

SESSION, FORM = "mailwake_session", "mailwake_form"
CSRF = "csrf"  # the field of every form


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class StaleFormError(ForeignPostError):
    """A form that is not of this session: mostly one that was open for long."""


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


def local_path(path: str) -> str:
    """Where to go after login: `path` if it stays on this site, else the front page."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else "/"
