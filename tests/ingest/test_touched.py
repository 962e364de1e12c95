import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.ingest.touched import PARTIAL, TouchedSpan, age_seconds, merged_spans, origin, touch
from app.model.records import Hit
from app.storage.journal_segments import DONE


def hit(kind: str = "click", at: int = 5, newsletter: int = 1, workspace: str = "default") -> Hit:
    return Hit(kind, at, workspace, newsletter, "m", 7)  # type: ignore[arg-type]


def test_the_folders_number_is_drawn_once(tmp_path: Path) -> None:
    first = origin(tmp_path)
    assert 1 <= first < 2**32
    assert origin(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["origin"]
    (tmp_path / "other").mkdir()
    assert origin(tmp_path / "other") != first


def test_processes_that_start_together_draw_one_number(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = set(pool.map(origin, [tmp_path] * 16, chunksize=1))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["origin"]


def test_unsubscribes_alone_are_not_noted(tmp_path: Path) -> None:
    touch(tmp_path, "seg", [hit("unsubscribe")])
    touch(tmp_path, "none", [])
    assert list(tmp_path.iterdir()) == []


def test_a_note_covers_all_hits_of_a_workspace(tmp_path: Path) -> None:
    hits = [
        hit("open", 3, 2),
        hit("click", 5, 1),
        hit("open", 9, 2),
        hit("open", 1, 4, "quiet"),
        hit("click", 7, 3, "acme"),
    ]
    touch(tmp_path, "seg", hits)
    (path,) = tmp_path.iterdir()
    assert path.name == f"seg{DONE}"
    assert merged_spans([path]) == [
        TouchedSpan("default", [1, 2], 3, 9),
        TouchedSpan("quiet", [4], 1, 1),
        TouchedSpan("acme", [3], 7, 7),
    ]


HITS = st.lists(
    st.builds(
        hit,
        st.sampled_from(["open", "click"]),
        st.integers(0, 99),
        st.integers(1, 4),
        st.sampled_from(["default", "acme"]),
    ),
    max_size=5,
)


@given(segments=st.lists(HITS, max_size=4))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_notes_of_segments_merge_to_what_they_cover(
    tmp_path: Path, segments: list[list[Hit]]
) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    for number, hits in enumerate(segments):
        touch(tmp_path, f"{number}", hits)
    spans = merged_spans(sorted(tmp_path.iterdir()))
    assert len({span.workspace for span in spans}) == len(spans)
    for workspace in ("default", "acme"):
        noted = [one for hits in segments for one in hits if one.workspace == workspace]
        expected = (
            [
                TouchedSpan(
                    workspace,
                    sorted({one.newsletter for one in noted}),
                    min(one.at for one in noted),
                    max(one.at for one in noted),
                )
            ]
            if noted
            else []
        )
        assert [span for span in spans if span.workspace == workspace] == expected


def test_a_torn_note_is_reported_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "whole", [hit()])
    whole = tmp_path / f"whole{DONE}"
    torn = tmp_path / f"torn{DONE}"
    torn.write_bytes(whole.read_bytes()[:-3])
    assert merged_spans([torn, whole]) == [TouchedSpan("default", [1], 5, 5)]
    assert torn.name in caplog.text


def test_a_notes_age_is_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / PARTIAL
    path.touch()
    os.utime(path, (time.time() - 100,) * 2)
    assert age_seconds(path) >= 100
