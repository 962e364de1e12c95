"""Executes statements on chDB."""

import re
from pathlib import Path
from typing import Any

import chdb
import msgspec

from tests.support.standin.statements import INTO, Executed, ServerError, Statement

_SETTING = rb"\w+\s*=\s*(?:'[^']*'|[\w.+-]+)"
_INSERT_FORMAT = re.compile(  # the statement, its format and one line end; data follows at once
    rb"(" + INTO.pattern + rb"\s*(?:\((?:`[^`]*`|[^)`])*\)\s*)?"
    rb"(?:SETTINGS\s+" + _SETTING + rb"(?:\s*,\s*" + _SETTING + rb")*\s+)?"
    rb")FORMAT\s+(\w+)[ \t\r\f]*\n?",
    re.DOTALL | re.I,
)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)

_ZERO = dict.fromkeys(
    ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes"), 0
)


class Outcome(msgspec.Struct, frozen=True):
    body: bytes
    format: str | None  # None: a statement without a result
    rows: int
    summary: dict[str, str]


class Engine:
    """chDB on one folder. Every statement has a handle of its own, so no setting outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path.resolve())
        self._keeper = self._open()  # the engine exists as long as a handle is open
        row = self._keeper.query("SELECT version(), timezone()", "TSV").bytes()
        self.version, self.timezone = row.decode().strip().split("\t")
        self.log: list[Executed] = []

    def close(self) -> None:
        self._keeper.close()

    def _open(self) -> Any:
        return chdb.connect(self.path)

    def execute(self, statement: Statement) -> Outcome:
        """Execute a statement. Blocking. Raises ServerError."""
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
        output_format = match[1] if (match := _FORMAT.search(sql)) else statement.format
        return Outcome(result.bytes(), output_format, result.rows_read(), summary)


def _summary(seconds: float, **counts: int) -> dict[str, str]:
    """Returns X-ClickHouse-Summary, in which every number is a string."""
    return {name: str(count) for name, count in {**_ZERO, **counts}.items()} | {
        "elapsed_ns": str(int(seconds * 1e9))
    }
