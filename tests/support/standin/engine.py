"""Executes statements on chDB, and keeps a log of them."""

from typing import Any

import msgspec

from app.storage.engine.chdb_engine import Engine, Outcome
from app.storage.engine.statements import ServerError, Statement, StatementKind


class Executed(msgspec.Struct, frozen=True):
    """A statement that reached the engine, in the order in which they ended.

    `rows` are those returned, or written with those of materialized views (a repeat that
    de-duplication drops counts too, as it does in X-ClickHouse-Summary). `code` is 0 or the error.
    """

    kind: StatementKind
    table: str | None
    token: str | None
    rows: int
    code: int
    sql: str


class LoggingEngine(Engine):
    """The engine of the service, with a log."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.log: list[Executed] = []

    def execute(self, statement: Statement) -> Outcome:
        rows = code = 0
        try:
            outcome = super().execute(statement)
            rows = outcome.rows
        except ServerError as error:
            code = error.code
            raise
        finally:
            token = statement.settings.get("insert_deduplication_token")
            sql = statement.text[:500].decode(errors="replace")
            self.log.append(Executed(statement.kind, statement.table, token, rows, code, sql))
        return outcome
