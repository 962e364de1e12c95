"""Copying the state from SQLite to PostgreSQL and back."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.auth.users import Users
from app.consent.suppressions import Suppressions
from app.consent.withdrawals import Withdrawals
from app.events.feed import Feed
from app.storage.state_copy import NotEmptyError, copy_state
from app.storage.state_db import open_state
from app.storage.tables import metadata
from tests.support.postgres import Postgres


def fill(engine: Engine) -> None:
    feed = Feed(engine)
    for number in range(3):
        feed.append(f"source {number}", b'{"kind":"open"}\n')
    Suppressions(engine).add(2**64 - 1, 0, "unsubscribed")
    Suppressions(engine).add(7, 9, "bounced")
    Withdrawals(engine).withdraw("default", 8, ("opens",))
    users = Users(engine)
    users.add("ann", "default", "admin")
    users.new_code("ann")


def rows(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            table.name: sorted(connection.execute(select(table)).all(), key=repr)
            for table in metadata.sorted_tables
        }


def test_every_row_is_copied_to_postgresql_and_back(tmp_path: Path, postgres: Postgres) -> None:
    here, back = open_state(tmp_path / "a"), open_state(tmp_path / "b")
    there = open_state(tmp_path / "a", dsn=postgres.database())
    fill(here)
    counts = copy_state(here, there)
    assert rows(there) == rows(here)
    assert counts == {name: len(of) for name, of in rows(here).items()}
    assert counts["suppressions"] == counts["users"] + 1 == 2
    copy_state(there, back)
    assert rows(back) == rows(here)
    for engine in (here, there, back):
        assert Feed(engine).newest() == 3
        Feed(engine).append("later", b'{"kind":"open"}\n')
        assert Feed(engine).newest() == 4
        engine.dispose()


def test_a_state_with_rows_is_no_target(tmp_path: Path, postgres: Postgres) -> None:
    here, there = open_state(tmp_path), open_state(tmp_path, dsn=postgres.database())
    fill(here)
    Suppressions(there).add(1, 0, "unsubscribed")
    before = rows(there)
    with pytest.raises(NotEmptyError, match="suppressions"):
        copy_state(here, there)
    assert rows(there) == before
    for engine in (here, there):
        engine.dispose()
