"""Executes statements on chDB."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import chdb

from app.storage.engine.statements import INTO, ServerError, Statement

_SETTING = rb"\w+\s*=\s*(?:'[^']*'|[\w.+-]+)"
_INSERT_FORMAT = re.compile(  # the statement, its format and one line end; data follows at once
    rb"(" + INTO.pattern + rb"\s*(?:\((?:`[^`]*`|[^)`])*\)\s*)?"
    rb"(?:(SETTINGS)\s+" + _SETTING + rb"(?:\s*,\s*" + _SETTING + rb")*\s+)?"
    rb")FORMAT\s+(\w+)[ \t\r\f]*\n?",
    re.DOTALL | re.I,
)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)

_ZERO = dict.fromkeys(
    ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes"), 0
)


class Outcome(NamedTuple):
    """A statement's result in `format` (None: it has none), `rows` of it, and what it cost.

    `summary` has the fields of X-ClickHouse-Summary.
    """

    body: bytes
    format: str | None
    rows: int
    summary: Mapping[str, str]


class Engine:
    """chDB on one folder. Every statement has a handle of its own, so no setting outlives it.

    Raises RuntimeError if the folder cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path.resolve())
        self._keeper = self._open()  # the engine exists as long as a handle is open
        row = self._keeper.query("SELECT version(), timezone()", "TSV").bytes()
        self.version, self.timezone = row.decode().strip().split("\t")

    def close(self) -> None:
        """Close the folder, once no statement runs."""
        self._keeper.close()

    def _open(self) -> Any:
        return chdb.connect(self.path)

    def execute(self, statement: Statement) -> Outcome:
        """Execute a statement. Blocking. Raises ServerError."""
        handle = self._open()
        try:
            if statement.database:
                handle.query(f"USE `{statement.database.replace('`', '``')}`")
            if statement.read_only:
                handle.query("SET readonly = 2")
            if insert := _INSERT_FORMAT.match(statement.text):
                return _insert(handle, statement, insert)
            return _run(handle, statement)
        except RuntimeError as error:  # chdb's own errors among them
            raise ServerError(str(error)) from error
        finally:
            handle.close()


def _insert(handle: Any, statement: Statement, insert: re.Match[bytes]) -> Outcome:
    sql, form = insert[1].decode(), insert[4].decode()
    if insert[3]:  # it has settings already
        _set(handle, statement.settings)
    elif statement.settings:
        sql += f" SETTINGS {', '.join(map(_assignment, statement.settings.items()))} "
    with handle.send_insert(sql, form) as stream:
        stream.append(statement.text[insert.end() :])
        done = stream.finish()
    written = {"written_rows": done.rows_written, "written_bytes": done.bytes_written}
    return Outcome(b"", None, done.rows_written, _summary(done.elapsed, **written))


def _run(handle: Any, statement: Statement) -> Outcome:
    _set(handle, statement.settings)
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


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    for setting in settings.items():
        handle.query(f"SET {_assignment(setting)}")


def _assignment(setting: tuple[str, str]) -> str:
    name, value = setting
    literal = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name} = '{literal}'"


def _summary(seconds: float, **counts: int) -> dict[str, str]:
    """Returns X-ClickHouse-Summary, in which every number is a string."""
    return {name: str(count) for name, count in {**_ZERO, **counts}.items()} | {
        "elapsed_ns": str(int(seconds * 1e9))
    }
