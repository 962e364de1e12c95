"""Copies the whole state from SQLite to PostgreSQL, or back, into a state that is still empty.

Nothing may write meanwhile: stop the services first. The copy is one transaction.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, Table, func, insert, inspect, select, text

from app.storage.tables import metadata

BATCH_ROWS = 500  # read and inserted at once


class NotEmptyError(Exception):
    """The target holds rows already; the message names a table."""


def copy_state(source: Engine, target: Engine) -> dict[str, int]:
    """Copy every row; returns their number by table. Raises NotEmptyError, SQLAlchemyError."""
    with source.connect() as here, target.begin() as there:
        for table in metadata.sorted_tables:
            if there.execute(select(func.count()).select_from(table)).scalar_one():
                raise NotEmptyError(f"the target is not empty: it has rows in {table.name}")
        counts = {table.name: _copy(table, here, there) for table in metadata.sorted_tables}
        if target.dialect.name == "postgresql":
            for name, column in _numbered(there):
                _continue_numbers(there, name, column)
    return counts


def _copy(table: Table, here: Connection, there: Connection) -> int:
    count = 0
    reading = here.execution_options(yield_per=BATCH_ROWS).execute(select(table))
    for rows in reading.mappings().partitions():
        there.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    return count


def _numbered(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yields the tables whose rows PostgreSQL numbers, each with the column."""
    for table in metadata.sorted_tables:
        for column in inspect(connection).get_columns(table.name):
            if "nextval" in (column["default"] or ""):
                yield table.name, column["name"]


def _continue_numbers(connection: Connection, table: str, column: str) -> None:
    """Let new rows get numbers after all that were copied: cursors rely on it."""
    highest = connection.execute(
        select(func.coalesce(func.max(metadata.tables[table].c[column]), 0))
    ).scalar_one()
    connection.execute(
        text("SELECT setval(pg_get_serial_sequence(:table, :column), :next, false)"),
        {"table": table, "column": column, "next": highest + 1},
    )
