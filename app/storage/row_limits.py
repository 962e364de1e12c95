"""Limits how many rows of a kind one workspace may have in state.db."""

from sqlalchemy import ColumnElement, Connection, Table, func, select


def limit_reached(
    connection: Connection,
    table: Table,
    workspace: str,
    most: int,
    *only: ColumnElement[bool],
) -> str:
    """Returns why a workspace may add no further row to a table; empty while it may.

    `only` are the conditions of the rows that count. Call it in the transaction that adds the row.
    """
    query = select(func.count()).select_from(table)
    count = connection.execute(query.where(table.c.workspace == workspace, *only)).scalar_one()
    return f"there are already {count:,}, the maximum is {most:,}" if count >= most else ""
