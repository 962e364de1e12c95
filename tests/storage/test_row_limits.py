"""The tests of each table's maximum are in tests/security/test_limits.py."""

from pathlib import Path

from app.schemas.segments import Segment
from app.stats.segments import SavedSegments
from app.storage.row_limits import limit_reached
from app.storage.state_db import open_state
from app.storage.tables import saved_segments


def test_rows_are_counted_by_workspace_and_condition(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for workspace, name in (("default", "a"), ("default", "b"), ("other", "a")):
        SavedSegments(state, workspace).put(name, Segment(opened="n"))
    with state.connect() as connection:
        assert limit_reached(connection, saved_segments, "default", 3) == ""
        problem = limit_reached(connection, saved_segments, "default", 2)
        assert problem == "there are already 2, the maximum is 2"
        assert limit_reached(connection, saved_segments, "other", 2) == ""
        assert (
            limit_reached(connection, saved_segments, "default", 2, saved_segments.c.name != "a")
            == ""
        )
    state.dispose()
