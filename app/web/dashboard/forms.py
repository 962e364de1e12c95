"""Getting into the dashboard: cookies, and forms that are ours."""

import hmac
import secrets
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.web.errors import RequestError
from app.web.requests import body_of

SESSION, FORM, DEVICE = "mailwake_session", "mailwake_form", "mailwake_device"
CSRF = "csrf"  # the field of every form
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 65_536
MAX_FORM_FIELDS = 100


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class StaleFormError(ForeignPostError):
    """A form that is not of this session: mostly one that was open for long."""


def new_secret() -> str:
    """Returns what a form is bound to where there is no session yet."""
    return secrets.token_urlsafe(18)


def csrf(secret: str) -> str:
    """Returns a form's token: it follows from a cookie and does not reveal it."""
    return sha256(f"form {secret}".encode()).hexdigest()[:32]


async def check_form(request: Request, secret: str) -> None:
    """Raises ForeignPostError or StaleFormError unless the form is one of this session's pages.

    The body is read last, so that only a browser with the session's cookie makes the service read
    one. `read_form()` returns it afterwards.
    """
    same_site(request)
    kind = request.headers.get("content-type", FORM_TYPE).partition(";")[0].strip().lower()
    if not secret or kind != FORM_TYPE:
        raise StaleFormError
    form = await read_form(request)
    token = str(form.get(CSRF, "")).encode("utf-8", "replace")
    if not hmac.compare_digest(token, csrf(secret).encode()):
        raise StaleFormError


async def read_form(request: Request) -> FormData:
    """Returns the fields of a form (URL standard, section 5.1), which are read once.

    Raises HTTPException: 413 above MAX_FORM_BYTES, 400 above MAX_FORM_FIELDS.
    """
    form: FormData | None = getattr(request.state, "form", None)
    if form is None:
        try:
            body = await body_of(request, MAX_FORM_BYTES)
        except RequestError as error:
            raise HTTPException(413, str(error)) from None
        try:
            text = body.decode("utf-8", "replace")
            fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
        except ValueError:
            raise HTTPException(400, f"a form has at most {MAX_FORM_FIELDS} fields") from None
        form = request.state.form = FormData([*fields])
    return form


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
    """Returns where to go after login: `path` if it stays on this site, else the front page."""
    url = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not url.scheme and not url.netloc else "/"
