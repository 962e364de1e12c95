"""Whether state.db has changed; its migrations are tested in test_clickhouse_migrations.py."""

import multiprocessing
from contextlib import closing
from pathlib import Path

from sqlalchemy import insert

from app.storage.state_db import StateVersion, open_state
from app.storage.tables import suppressions


def suppress(folder: Path, key: int) -> None:
    engine = open_state(folder)
    with engine.begin() as connection:
        row = {"workspace": "default", "recipient": key, "newsletter": 0, "reason": "x", "at": 1.0}
        connection.execute(insert(suppressions).values(row))
    engine.dispose()


def test_each_commit_shows_also_one_of_another_process(tmp_path: Path) -> None:
    open_state(tmp_path).dispose()
    with closing(StateVersion(tmp_path)) as state:
        first = state.read()
        assert state.read() == first
        suppress(tmp_path, 1)
        second = state.read()
        assert second != first
        assert state.read() == second
        process = multiprocessing.get_context("spawn").Process(target=suppress, args=(tmp_path, 2))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert state.read() != second
