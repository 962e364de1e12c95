"""Serves the engine as a server with a user, compression, and faults of the control port."""

import asyncio
import contextlib
import gzip
import re
import sys
import zlib
from base64 import b64decode
from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.storage.engine.endpoint import answer, read_statement, refusal
from app.storage.engine.statements import ServerError, Statement, StatementKind
from tests.support.standin.engine import LoggingEngine
from tests.support.standin.faults import Fault
from tests.support.standin.listener import Listener

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
CODECS: dict[str, Codec] = {"zstd": (zstd.compress, zstd.decompress)}  # most preferred first
with contextlib.suppress(ImportError):  # the client does not install it on Python 3.14
    import lz4.frame  # type: ignore[import-untyped]

    CODECS["lz4"] = (lz4.frame.compress, lz4.frame.decompress)
CODECS["gzip"] = (gzip.compress, gzip.decompress)
CODECS["deflate"] = (zlib.compress, zlib.decompress)


class Endpoint:
    """The ClickHouse port and the control port over one engine."""

    def __init__(
        self, engine: LoggingEngine, user: str, password: str, ports: tuple[int, int]
    ) -> None:
        self._engine = engine
        self._credentials = (user, password)
        self._fault: Fault | None = None
        self._left: int | None = None
        methods = ["GET", "POST"]
        data = [Route("/ping", self.ping), Route("/", self.query, methods=methods)]
        control = [
            Route("/__fault", self.set_fault, methods=["POST", "DELETE"]),
            Route("/__log", self.get_log),
        ]
        self.data = Listener(Starlette(routes=data), ports[0])
        self.control = Listener(Starlette(routes=control), ports[1])

    async def set_fault(self, request: Request) -> Response:
        fault = None
        if request.method == "POST":
            try:
                fault = msgspec.json.decode(await request.body(), type=Fault)
            except msgspec.DecodeError as error:  # a ValidationError is one
                return Response(f"fault: {error}\n", 400)
        if self._fault and self._fault.kind == "down":
            await self.data.up()
        self._fault, self._left = fault, fault.times if fault else None
        if fault and fault.kind == "down":
            await self.data.down()
        return Response(status_code=204)

    async def get_log(self, _: Request) -> Response:
        return Response(msgspec.json.encode(self._engine.log), media_type="application/json")

    async def ping(self, request: Request) -> Response:
        fault = self._hit("ping")
        if fault and (answer := await self._interfere(request, fault, None)):
            return answer
        if fault and fault.kind == "reset_after_commit":
            return await self._reset(request)
        return Response("Ok.\n", media_type="text/html")

    async def query(self, request: Request) -> Response:
        try:
            self._authenticate(request)
            statement = await read_statement(request, _decompressed)
            fault = self._hit(statement.kind)
            if fault and (early := await self._interfere(request, fault, statement)):
                return early
            outcome = await asyncio.to_thread(self._engine.execute, statement)
        except ServerError as error:
            return refusal(self._engine, request, error)
        except ClientDisconnect:
            return Response()
        if fault and fault.kind == "reset_after_commit":
            return await self._reset(request)
        response = answer(self._engine, request, outcome)
        if response.body and request.query_params.get("enable_http_compression") == "1":
            accepted = re.split(r"\s*,\s*", request.headers.get("accept-encoding", ""))
            if name := next((name for name in CODECS if name in accepted), None):
                headers = {**response.headers, "Content-Encoding": name}
                del headers["content-length"]
                return Response(CODECS[name][0](bytes(response.body)), 200, headers)
        return response

    def _hit(self, kind: StatementKind | Literal["ping"]) -> Fault | None:
        fault = self._fault
        if fault is None or not fault.hits(kind):
            return None
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self._fault = None
        return fault

    async def _interfere(
        self, request: Request, fault: Fault, statement: Statement | None
    ) -> Response | None:
        """Apply the fault before execution; an answer ends the request. Raises ServerError."""
        match fault.kind:
            case "hang":
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                return Response()
            case "reset_before":
                return await self._reset(request)
            case "status_503":
                return Response("no server is available to handle this request\n", 503)
            case "slow":
                await asyncio.sleep(fault.ms / 1000)
            case "wrong_password":
                raise _denied(self._credentials[0])
            case "too_many_parts" if statement:
                message = (
                    f"Too many parts (3000 with average size of 2.05 KiB) in table"
                    f" '{statement.table}'. Merges are processing significantly slower than inserts"
                )
                raise ServerError.of(252, "TOO_MANY_PARTS", message)
            case "read_only" if statement and statement.kind == "insert":
                message = f"Table is in readonly mode (replica path: /tables/{statement.table})"
                raise ServerError.of(242, "TABLE_IS_READ_ONLY", message)
            case "read_only":
                message = "default: Cannot execute query in readonly mode"
                raise ServerError.of(164, "READONLY", message)
        return None

    async def _reset(self, request: Request) -> Response:
        assert request.client
        self.data.reset((request.client.host, request.client.port))
        await asyncio.sleep(0)  # the connection is now lost, so the return value is unused
        return Response()

    def _authenticate(self, request: Request) -> None:
        """Raises ServerError 516; the three ways must not be mixed, as in the server."""
        ways: dict[str, tuple[str, str]] = {}
        user, key = (request.headers.get(f"x-clickhouse-{name}", "") for name in ("user", "key"))
        if user or key:
            ways["X-ClickHouse HTTP headers"] = (user, key)
        if authorization := request.headers.get("authorization"):
            ways["Authorization HTTP header"] = _basic(authorization)
        params = request.query_params
        if "user" in params or "password" in params:
            credentials = params.get("user", "default"), params.get("password", "")
            ways["authentication via parameters"] = credentials
        if len(ways) > 1:
            first, second, *_ = ways
            message = f"it is not allowed to use {first} and {second} simultaneously"
            raise ServerError.of(516, "AUTHENTICATION_FAILED", f"Invalid authentication: {message}")
        credentials = next(iter(ways.values()), ("default", ""))
        if credentials != self._credentials:
            raise _denied(credentials[0])


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        message = f"'{scheme}' HTTP Authorization scheme is not supported"
        raise ServerError.of(516, "AUTHENTICATION_FAILED", f"Invalid authentication: {message}")
    user, _, password = b64decode(encoded).decode(errors="replace").partition(":")
    return user, password


def _denied(user: str) -> ServerError:
    message = "password is incorrect, or there is no user with such name"
    text = f"{user}: Authentication failed: {message}"
    return ServerError.of(516, "AUTHENTICATION_FAILED", text)


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in CODECS:
        message = f"Unknown compression method: {encoding}"
        raise ServerError.of(89, "UNKNOWN_COMPRESSION_METHOD", message)
    try:
        return CODECS[encoding][1](body)
    except Exception as error:  # every codec has its own
        message = f"Cannot decompress the body as {encoding}: {error}"
        raise ServerError.of(271, "CANNOT_DECOMPRESS", message) from error
