"""Serves ClickHouse's HTTP protocol over the engine."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.storage.engine.chdb_engine import Engine, Outcome
from app.storage.engine.statements import ServerError, Statement

MIME = {"JSON": "application/json; charset=UTF-8", "Native": "application/octet-stream"}
TSV = "text/tab-separated-values; charset=UTF-8"
NAME = "mailwake"
MAX_FIELD_BYTES = 1 << 26  # of one parameter in a form


def create(engine: Engine) -> Starlette:
    """Returns the application: GET /ping, and statements by GET and POST at /."""

    async def ping(_: Request) -> Response:
        return Response("Ok.\n", media_type="text/html")

    async def query(request: Request) -> Response:
        try:
            statement = await read_statement(request)
            outcome = await asyncio.to_thread(engine.execute, statement)
        except ServerError as error:
            return refusal(engine, request, error)
        except ClientDisconnect:
            return Response()
        return answer(engine, request, outcome)

    return Starlette(
        routes=[Route("/ping", ping), Route("/", query, methods=["GET", "POST"])],
    )


def answer(engine: Engine, request: Request, outcome: Outcome) -> Response:
    """Returns a statement's result."""
    headers = _headers(engine, request)
    headers["X-ClickHouse-Summary"] = msgspec.json.encode(outcome.summary).decode()
    if outcome.format:
        headers["X-ClickHouse-Format"] = outcome.format
    return Response(outcome.body, 200, headers, MIME.get(outcome.format or "", TSV))


def refusal(engine: Engine, request: Request, error: ServerError) -> Response:
    """Returns an error with its code, as the server does."""
    headers = {**_headers(engine, request), "X-ClickHouse-Exception-Code": str(error.code)}
    text = str(error)
    if "(version " not in text:
        text += f" (version {engine.version} (official build))"
    return Response(text + "\n", error.status, headers, "text/plain; charset=UTF-8")


def _headers(engine: Engine, request: Request) -> dict[str, str]:
    return {
        "X-ClickHouse-Query-Id": request.query_params.get("query_id") or str(uuid.uuid4()),
        "X-ClickHouse-Server-Display-Name": NAME,
        "X-ClickHouse-Timezone": engine.timezone,
    }


def _identity(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    message = f"Unknown compression method: {encoding}"
    raise ServerError.of(89, "UNKNOWN_COMPRESSION_METHOD", message)


async def read_statement(
    request: Request, decompressed: Callable[[bytes, str], bytes] = _identity
) -> Statement:
    """Returns the statement: the parameter `query`, a line end and the body. Raises ServerError."""
    params: dict[str, str] = dict(request.query_params)
    if "1" in (params.get("compress"), params.get("decompress")):
        message = "ClickHouse's own block compression is not supported"
        raise ServerError.of(48, "NOT_IMPLEMENTED", message)
    body = b""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_part_size=MAX_FIELD_BYTES) as form:
            params |= _fields(form)
    else:
        encoding = request.headers.get("content-encoding", "identity")
        body = decompressed(await request.body(), encoding)
    text = b"\n".join(part for part in (params.get("query", "").encode(), body) if part)
    if not text.strip():
        raise ServerError.of(
            62, "SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query)"
        )
    return Statement(text, params, read_only=request.method != "POST")


def _fields(form: Mapping[str, Any]) -> dict[str, str]:
    for name, value in form.items():
        if not isinstance(value, str):
            message = f"External data ({name}) is not supported"
            raise ServerError.of(48, "NOT_IMPLEMENTED", message)
    return dict(form)
