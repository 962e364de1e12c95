"""The copy of the roll-up is exchanged once, whatever is repeated."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from app.storage.unknowable import count_unknowable


class Database:
    """Has the column once the tables were exchanged."""

    def __init__(self) -> None:
        self.migrated = False
        self.commands: list[str] = []

    def query(self, _: str) -> Any:
        return SimpleNamespace(result_rows=[(int(self.migrated),)])

    def command(self, statement: str) -> None:
        self.commands.append(statement)
        self.migrated |= "EXCHANGE" in statement


@pytest.mark.parametrize("on", ["", " ON CLUSTER `c`"])
def test_a_second_attempt_counts_nothing(on: str) -> None:
    """The migrations' own tests kill real ones; tests/storage/test_clickhouse_migrations.py."""
    database = Database()
    for _ in range(2):
        count_unknowable(cast(Client, database), on)
    # A replica reads what the others wrote before it counts.
    assert len([line for line in database.commands if "SYNC REPLICA" in line]) == (2 if on else 0)
    assert len(database.commands) == (4 if on else 2)
    assert database.commands[-1].endswith(f"hits_by_message{on}")
