"""A stand-in for a ClickHouse server: its HTTP protocol over embedded chDB, in its own process.

    python -m tests.clickhouse_server --port 0 --path DIR --user u --password p

prints {"port": N, "control": N} as one JSON line. The first port speaks ClickHouse; the second
switches faults (POST or DELETE /__fault) and tells what was executed (GET /__log), and still
answers while the first one is down. Tests use ClickHouseServer below.

Unlike the real server it keeps no sessions, answers in client protocol version 0, builds a whole
result before sending it, and does not refuse several statements in one request.
Source of the protocol: https://clickhouse.com/docs/interfaces/http and the server's own
src/Server/HTTPHandler.cpp, authenticateUserByHTTP.cpp and exceptionCodeToHTTPStatus.cpp.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import uuid
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import quote

import chdb
import httpx2
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
CODECS: dict[str, Codec] = {"zstd": (zstd.compress, zstd.decompress)}  # most preferred first
with contextlib.suppress(ImportError):  # the client does not bring it to Python 3.14
    import lz4.frame  # type: ignore[import-untyped]

    CODECS["lz4"] = (lz4.frame.compress, lz4.frame.decompress)
CODECS["gzip"] = (gzip.compress, gzip.decompress)
CODECS["deflate"] = (zlib.compress, zlib.decompress)

_STATUS = """
401 REQUIRED_PASSWORD
403 UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED
400 BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
400 CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
400 CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6 CANNOT_PARSE_UUID
400 CANNOT_PARSE_INPUT_ASSERTION_FAILED DUPLICATE_COLUMN ILLEGAL_COLUMN THERE_IS_NO_COLUMN
400 UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE UNEXPECTED_AST_STRUCTURE TOO_DEEP_AST
400 TOO_BIG_AST SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
404 UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE
404 UNKNOWN_DATABASE UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION
404 UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE
408 TIMEOUT_EXCEEDED
413 QUERY_IS_TOO_LARGE
501 NOT_IMPLEMENTED
503 SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK
"""
STATUS = {
    name: int(status)
    for status, *names in map(str.split, _STATUS.strip().splitlines())
    for name in names
}

_TRANSPORT = """
query database default_format user password query_id session_id session_timeout session_check
quota_key role buffer_size wait_end_of_query compress decompress client_protocol_version
stacktrace close_session
"""
# Parameters that the HTTP layer keeps to itself; every other one is a setting of the engine.
TRANSPORT = frozenset(_TRANSPORT.split())
MIME = {"JSON": "application/json; charset=UTF-8", "Native": "application/octet-stream"}
TSV = "text/tab-separated-values; charset=UTF-8"

_BLANK = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_WORD = re.compile(_BLANK + rb"(\w+|\()", re.DOTALL)
_INTO = re.compile(_BLANK + rb"INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`]+)", re.DOTALL | re.I)
_SETTING = rb"\w+\s*=\s*(?:'[^']*'|[\w.+-]+)"
_INSERT_FORMAT = re.compile(  # the statement, its format and one line end; data follows at once
    rb"(" + _INTO.pattern + rb"\s*(?:\((?:`[^`]*`|[^)`])*\)\s*)?"
    rb"(?:SETTINGS\s+" + _SETTING + rb"(?:\s*,\s*" + _SETTING + rb")*\s+)?"
    rb")FORMAT\s+(\w+)[ \t\r\f]*\n?",
    re.DOTALL | re.I,
)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
_READING = {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "("}

StatementKind = Literal["insert", "select", "command"]
FaultKind = Literal[
    "down",  # connections are refused, and those that are open are reset
    "hang",  # accepted and never answered
    "reset_before",  # reset before the statement was executed
    "reset_after_commit",  # reset after the statement was executed
    "status_503",  # as from a load balancer: no ClickHouse header, not executed
    "slow",  # executed after `ms`
    "too_many_parts",  # 252, inserts only
    "read_only",  # 242 for inserts, 164 for other statements that write
    "wrong_password",  # 516
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong, for how many requests (None: until cleared) and for which statements.

    Without `match`, every request is hit that can be, /ping among them where it fits.
    """

    kind: FaultKind
    times: int | None = None
    match: StatementKind | None = None
    ms: int = 0

    def __post_init__(self) -> None:
        if self.kind == "down" and (self.times is not None or self.match):
            raise ValueError("down has no times and no match: a refused connection is not seen")
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1")
        if self.match and self.kind in {"too_many_parts", "read_only"} and self.match == "select":
            raise ValueError(f"{self.kind} never hits a select")

    def hits(self, kind: StatementKind | Literal["ping"]) -> bool:
        if self.match and self.match != kind:
            return False
        if self.kind == "too_many_parts":
            return kind == "insert"
        if self.kind == "read_only":
            return kind in {"insert", "command"}
        return kind != "ping" or self.kind != "wrong_password"


class Executed(msgspec.Struct, frozen=True):
    """A statement that reached the engine, in the order in which they ended.

    `rows` are those given back, or written with those of materialized views (a repeat that
    de-duplication drops counts too, as it does in X-ClickHouse-Summary). `code` is 0 or the error.
    """

    kind: StatementKind
    table: str | None
    token: str | None
    rows: int
    code: int
    sql: str


class ServerError(Exception):
    """An error of ClickHouse: its code and its text, `Code: N. DB::Exception: ... (NAME)`."""

    def __init__(self, text: str) -> None:
        # What chDB and its Python layer put in front is not the server's.
        super().__init__(text[max(text.find("Code: "), 0) :])
        self.code = int(match[1]) if (match := re.search(r"Code: (\d+)\.", text)) else 1002
        names = re.findall(r"\(([A-Z][A-Z0-9_]+)\)", text)
        self.status = STATUS.get(names[-1], 500) if names else 500

    @classmethod
    def of(cls, code: int, name: str, message: str) -> Self:
        return cls(f"Code: {code}. DB::Exception: {message}. ({name})")


class Statement:
    """A request's statement with the data after it, its settings and parameters."""

    def __init__(self, text: bytes, params: Mapping[str, str], read_only: bool) -> None:
        word = match[1].decode().upper() if (match := _WORD.match(text)) else ""
        self.text = text
        self.kind: StatementKind = (
            "insert" if word == "INSERT" else "select" if word in _READING else "command"
        )
        into = _INTO.match(text)
        self.table = into[1].decode().replace("`", "") if into else None
        self.database = params.get("database", "")
        self.format = params.get("default_format", "TabSeparated")
        self.read_only = read_only
        self.parameters = {k[6:]: v for k, v in params.items() if k.startswith("param_")}
        self.settings = {
            k: v for k, v in params.items() if k not in TRANSPORT and not k.startswith("param_")
        }


class Outcome(msgspec.Struct, frozen=True):
    body: bytes
    format: str | None  # None: a statement without a result
    rows: int
    summary: dict[str, str]


_ZERO = dict.fromkeys(
    ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes"), 0
)


class Engine:
    """chDB on one folder. Every statement has a handle of its own, so no setting outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path.resolve())
        self._keeper = self._open()  # the engine lives as long as a handle is open
        found = self._keeper.query("SELECT version(), timezone()", "TSV").bytes()
        self.version, self.timezone = found.decode().strip().split("\t")
        self.log: list[Executed] = []

    def close(self) -> None:
        self._keeper.close()

    def _open(self) -> Any:
        return chdb.connect(self.path)  # type: ignore[no-untyped-call]

    def execute(self, statement: Statement) -> Outcome:
        """Blocking. Raises ServerError."""
        rows = code = 0
        handle = self._open()
        try:
            self._prepare(handle, statement)
            outcome = self._run(handle, statement)
            rows = outcome.rows
        except RuntimeError as error:  # chdb's own errors among them
            failure = ServerError(str(error))
            code = failure.code
            raise failure from error
        finally:
            handle.close()
            token = statement.settings.get("insert_deduplication_token")
            sql = statement.text[:500].decode(errors="replace")
            self.log.append(Executed(statement.kind, statement.table, token, rows, code, sql))
        return outcome

    @staticmethod
    def _prepare(handle: Any, statement: Statement) -> None:
        if statement.database:
            handle.query(f"USE `{statement.database.replace('`', '``')}`")
        for name, value in statement.settings.items():
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ServerError.of(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
            literal = value.replace("\\", "\\\\").replace("'", "\\'")
            handle.query(f"SET {name} = '{literal}'")
        if statement.read_only:
            handle.query("SET readonly = 2")

    @staticmethod
    def _run(handle: Any, statement: Statement) -> Outcome:
        if insert := _INSERT_FORMAT.match(statement.text):
            with handle.send_insert(insert[1].decode(), insert[3].decode()) as stream:
                stream.append(statement.text[insert.end() :])
                done = stream.finish()
            written = {"written_rows": done.rows_written, "written_bytes": done.bytes_written}
            return Outcome(b"", None, done.rows_written, _summary(done.elapsed, **written))
        sql = statement.text.decode(errors="replace")
        result = handle.query(sql, statement.format, params=statement.parameters)
        summary = _summary(
            result.elapsed(),
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=result.bytes_read(),
        )
        if statement.kind != "select":
            return Outcome(result.bytes(), None, result.rows_written(), summary)
        chosen = match[1] if (match := _FORMAT.search(sql)) else statement.format
        return Outcome(result.bytes(), chosen, result.rows_read(), summary)


def _summary(seconds: float, **counts: int) -> dict[str, str]:
    """X-ClickHouse-Summary: every number is a string there."""
    return {name: str(count) for name, count in {**_ZERO, **counts}.items()} | {
        "elapsed_ns": str(int(seconds * 1e9))
    }


class Listener:
    """An ASGI application on a loopback port that can go down and come up again."""

    def __init__(self, app: Starlette, port: int) -> None:
        self._app = app
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._task: asyncio.Task[None] | None = None

    async def up(self) -> None:
        config = uvicorn.Config(self._app, http="httptools", lifespan="off", log_config=None)
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        # Not serve(): it would take the signals, which main() below handles.
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()  # raises what went wrong
            await asyncio.sleep(0)

    async def down(self) -> None:
        """Refuse connections from now on and reset those that are open; the port stays ours."""
        if self._task is None:
            return
        for server in self._server.servers:
            server.close()
        self.reset(None)
        self._server.should_exit = self._server.force_exit = True
        await self._task
        self._task = None
        self._socket = _bound(self.port)

    def reset(self, client: tuple[str, int] | None) -> None:
        """Send RST on the connection of `client`, or on every one."""
        for protocol in list(self._server.server_state.connections):
            transport = cast(HttpToolsProtocol, protocol).transport
            if client in (None, transport.get_extra_info("peername")):
                linger = struct.pack("ii", 1, 0)  # on, for no time: close() then sends RST
                peer = transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()


def _bound(port: int) -> socket.socket:
    """Bound but not listening: the system refuses connections, and nobody else gets the port."""
    # asyncio sets TCP_NODELAY only where the protocol is named: else each answer waits 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class Endpoint:
    """The ClickHouse port and the control port over one engine."""

    def __init__(self, engine: Engine, user: str, password: str, ports: tuple[int, int]) -> None:
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
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": "stand-in",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            self._authenticate(request)
            statement = await _read(request)
            fault = self._hit(statement.kind)
            if fault and (answer := await self._interfere(request, fault, statement)):
                return answer
            outcome = await asyncio.to_thread(self._engine.execute, statement)
        except ServerError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            text = str(error)
            if "(version " not in text:
                text += f" (version {self._engine.version} (official build))"
            return Response(text + "\n", error.status, headers, "text/plain; charset=UTF-8")
        except ClientDisconnect:
            return Response()
        if fault and fault.kind == "reset_after_commit":
            return await self._reset(request)
        headers["X-ClickHouse-Summary"] = json.dumps(outcome.summary)
        if outcome.format:
            headers["X-ClickHouse-Format"] = outcome.format
        body = outcome.body
        if body and request.query_params.get("enable_http_compression") == "1":
            accepted = re.split(r"\s*,\s*", request.headers.get("accept-encoding", ""))
            if name := next((name for name in CODECS if name in accepted), None):
                headers["Content-Encoding"] = name
                body = CODECS[name][0](body)
        return Response(body, 200, headers, MIME.get(outcome.format or "", TSV))

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
        """What the fault does before execution; an answer ends the request. Raises ServerError."""
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
        await asyncio.sleep(0)  # the connection is now lost, so what is returned goes nowhere
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
            given = params.get("user", "default"), params.get("password", "")
            ways["authentication via parameters"] = given
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


async def _read(request: Request) -> Statement:
    """The statement is the query parameter, a line end and the body. Raises ServerError."""
    params = dict(request.query_params)
    if "1" in (params.get("compress"), params.get("decompress")):
        message = "ClickHouse's own block compression is not supported by the stand-in"
        raise ServerError.of(48, "NOT_IMPLEMENTED", message)
    body = b""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_part_size=1 << 26) as form:
            for name, value in form.items():
                if not isinstance(value, str):
                    message = f"External data ({name}) is not supported by the stand-in"
                    raise ServerError.of(48, "NOT_IMPLEMENTED", message)
                params[name] = value
    else:
        body = await request.body()
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            body = _decompressed(body, encoding)
    text = b"\n".join(part for part in (params.get("query", "").encode(), body) if part)
    if not text.strip():
        raise ServerError.of(
            62, "SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query)"
        )
    return Statement(text, params, read_only=request.method != "POST")


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding not in CODECS:
        message = f"Unknown compression method: {encoding}"
        raise ServerError.of(89, "UNKNOWN_COMPRESSION_METHOD", message)
    try:
        return CODECS[encoding][1](body)
    except Exception as error:  # every codec has its own
        message = f"Cannot decompress the body as {encoding}: {error}"
        raise ServerError.of(271, "CANNOT_DECOMPRESS", message) from error


async def main(path: Path, user: str, password: str, ports: tuple[int, int]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    engine = Engine(path)
    endpoint = Endpoint(engine, user, password, ports)
    await endpoint.data.up()
    await endpoint.control.up()
    started = {"port": endpoint.data.port, "control": endpoint.control.port}
    print(json.dumps(started), flush=True)
    await stopped.wait()
    await endpoint.data.down()
    await endpoint.control.down()
    engine.close()


class ClickHouseServer:
    """The stand-in as a process, for tests: a context manager; `dsn` is ready once started."""

    def __init__(self, path: Path, user: str = "default", password: str = "") -> None:
        self.path = path
        self.user = user
        self.password = password
        self.port = 0  # of the first start, kept for the later ones
        self._control = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        user, password = (quote(part, safe="") for part in (self.user, self.password))
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/default"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or start again on the same data and port with an empty log and no fault."""
        options = {
            "path": self.path,
            "user": self.user,
            "password": self.password,
            "port": self.port,
            "control-port": self._control,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clickhouse_server"]
            + [f"--{name}={value}" for name, value in options.items()],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the ClickHouse stand-in did not start; its error is on stderr")
        started = json.loads(line)
        self.port, self._control = started["port"], started["control"]

    def stop(self) -> None:
        """SIGTERM; does nothing when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process:
            process.send_signal(number)
            with process:  # closes the pipe and waits
                pass

    def fault(
        self,
        kind: FaultKind,
        times: int | None = None,
        match: StatementKind | None = None,
        ms: int = 0,
    ) -> None:
        """Switch the one fault on that holds from now on; see Fault. Raises ValueError."""
        body = {"kind": kind, "times": times, "match": match, "ms": ms}
        answer = self._ask("POST", "/__fault", json=body)
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise ValueError(answer.text.strip())
        answer.raise_for_status()

    def clear(self) -> None:
        """No fault from now on; requests that hang already stay so."""
        self._ask("DELETE", "/__fault").raise_for_status()

    def log(self) -> list[Executed]:
        """What was executed since the last start."""
        answer = self._ask("GET", "/__log").raise_for_status()
        return msgspec.json.decode(answer.content, type=list[Executed])

    def _ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        with httpx2.Client(trust_env=False, timeout=30) as client:
            return client.request(method, f"http://127.0.0.1:{self._control}{path}", **more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.clickhouse_server", description=__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    asyncio.run(main(given.path, given.user, given.password, (given.port, given.control_port)))
