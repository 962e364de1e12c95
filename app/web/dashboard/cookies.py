"""Cookies of the dashboard.

Where the dashboard's own URL is https, or the request came by https, they have the attribute Secure
and the prefix __Host- (RFC 6265bis, section 4.1.3.2): they are sent by https only, and no other
host of the domain can set them. A cookie without the prefix then counts for nothing.
"""

from starlette.requests import Request
from starlette.responses import Response

from app.auth.sessions import SECONDS


def cookie(request: Request, name: str) -> str:
    """Returns a cookie's value, or ""."""
    return request.cookies.get(_name(request, name), "")


def set_cookie(
    request: Request, response: Response, name: str, value: str, seconds: int | None = SECONDS
) -> None:
    """Set a cookie that scripts cannot read and that forms of other sites do not send.

    Without `seconds` it lasts until the browser is closed.
    """
    response.set_cookie(
        _name(request, name),
        value,
        seconds,
        httponly=True,
        samesite="lax",
        secure=_is_secure(request),
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(
        _name(request, name), secure=_is_secure(request), httponly=True, samesite="lax"
    )


def _name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _is_secure(request) else name


def _is_secure(request: Request) -> bool:
    """Returns whether browsers reach the dashboard by https.

    The request alone does not say so: a proxy that is not in TRUSTED_PROXIES makes it look like
    http.
    """
    return request.url.scheme == "https" or request.app.state.dashboard_is_https
