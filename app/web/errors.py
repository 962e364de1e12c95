"""Errors as answers: RFC 9457 problems of the API, and of everything else that is not a page."""

import logging
from collections.abc import Callable

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.auth.quotas import QuotaError
from app.events.feed import CursorError
from app.model.errors import FieldError, NotFoundError
from app.schemas.problem import Problem
from app.storage.clickhouse import StartingError, StorageError
from app.storage.disk import ReserveError
from app.storage.journal import JournalError

log = logging.getLogger(__name__)
Handlers = dict[type[Exception], Callable[[Request, Exception], Response]]
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    409: "Conflict",
    413: "Too large",
    422: "Invalid value",
}


class RequestError(Exception):
    """A request that cannot be served; `field` names the part that is wrong."""

    def __init__(self, status: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field


def problem(status: int, title: str, detail: str = "", field: str = "") -> Response:
    """Returns an RFC 9457 answer."""
    body = msgspec.json.encode(Problem(title, status, detail, field))
    headers = {"www-authenticate": 'Bearer realm="Mailwake"'} if status == 401 else {}
    if status == 503:
        headers["retry-after"] = "5"
    return Response(body, status, headers, "application/problem+json")


def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101
    return problem(error.status, TITLES.get(error.status, "Error"), error.detail, error.field)


def http_error(_: Request, error: Exception) -> Response:
    """Returns a problem of an HTTPException, such as 404 and 405 of the router."""
    assert isinstance(error, HTTPException)  # noqa: S101
    answer = problem(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _cursor_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, CursorError)  # noqa: S101
    status = 410 if error.expired else 422
    return problem(status, "Gone" if error.expired else "Invalid value", str(error), "after")


def _state_error(_: Request, error: Exception) -> Response:
    log.error("answered 503: %s", error)
    return problem(503, "The state is unavailable", "Try again in a moment.")


def _crashed(_: Request, __: Exception) -> Response:
    return problem(500, "Internal error", "See the service's log for details.")


def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, NotFoundError)  # noqa: S101
    return problem(404, "Not found", str(error), error.field)


def _field_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FieldError)  # noqa: S101
    return problem(422, "Invalid value", str(error), error.field)


def _starting(_: Request, __: Exception) -> Response:
    detail = "Links and pixels work, and hits are stored. Try again in a moment."
    return problem(503, "The service is starting", detail)


def _storage_error(_: Request, error: Exception) -> Response:
    log.warning("answered 503: %s", error)
    return problem(
        503, "ClickHouse is unavailable", "Hits are still stored. Try again in a moment."
    )


def _disconnected(_: Request, __: Exception) -> Response:
    """Answer a client that has left in the middle of its request; nobody receives it."""
    return problem(400, "Incomplete request", "The body has ended early.", "body")


def _quota_error(_: Request, error: Exception) -> Response:
    """Answer 429 where waiting helps, else 507: stored templates must be fewer or smaller."""
    assert isinstance(error, QuotaError)  # noqa: S101
    if not error.retry_seconds:
        return problem(507, "Quota used up", str(error))
    answer = problem(429, "Quota used up", str(error))
    answer.headers["retry-after"] = str(error.retry_seconds)
    return answer


def _reserve_error(_: Request, error: Exception) -> Response:
    return problem(507, "The disk is nearly full", str(error))


def _journal_error(_: Request, error: Exception) -> Response:
    return problem(503, "Nothing can be stored", str(error))


ERRORS: Handlers = {
    RequestError: _request_error,
    HTTPException: http_error,
    NotFoundError: _not_found,
    FieldError: _field_error,
    CursorError: _cursor_error,
    SQLAlchemyError: _state_error,
    StartingError: _starting,
    StorageError: _storage_error,
    QuotaError: _quota_error,
    ReserveError: _reserve_error,
    JournalError: _journal_error,
    ClientDisconnect: _disconnected,
    Exception: _crashed,
}
