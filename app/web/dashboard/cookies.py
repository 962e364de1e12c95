"""Cookies of the dashboard."""

from starlette.requests import Request
from starlette.responses import Response

from app.auth.sessions import SECONDS


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
