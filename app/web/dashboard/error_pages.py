"""Errors as pages: what browsers get where programs get a problem."""

from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.web.dashboard.pages import Dashboard
from app.web.errors import http_error, problem

NOT_FOUND = 404
FOREIGN = "The request came from another website. Nothing was changed."


async def error_page(dashboard: Dashboard, request: Request, error: Exception) -> Response:
    """Returns a page for people, a problem for programs."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if "text/html" not in request.headers.get("accept", ""):
        return http_error(request, error)
    with suppress(SQLAlchemyError):  # the bar on top then is that of somebody unknown
        await dashboard.load_session(request)
    advice = "Check the URL." if error.status_code == NOT_FOUND else "Nothing was changed."
    return dashboard.problem(request, error.status_code, error.detail, advice)


def foreign_page(dashboard: Dashboard, request: Request, _: Exception) -> Response:
    """Returns the same for a form that another site has sent."""
    if "text/html" not in request.headers.get("accept", ""):
        return problem(403, "Forbidden", FOREIGN)
    return dashboard.problem(request, 403, "Form not accepted", FOREIGN)
