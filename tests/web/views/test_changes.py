from app.web.views.changes import count_change, rate_change
from app.web.views.reader import UTC_READER, Reader


def test_a_count_changes_by_percent_and_is_not_judged() -> None:
    more, fewer = count_change(30, 20, UTC_READER), count_change(1, 4, UTC_READER)
    assert more and (more.text, more.rises, more.judged) == ("50%", True, "")
    assert fewer and (fewer.text, fewer.rises) == ("75%", False)
    assert count_change(5, 0, UTC_READER) is None


def test_a_rate_changes_by_points_of_which_one_direction_is_better() -> None:
    better = rate_change((3, 4), (1, 2), 1, UTC_READER)
    worse = rate_change((3, 4), (1, 2), -1, UTC_READER)
    assert better and (better.text, better.judged) == ("25.0 points", "better")
    assert worse and worse.judged == "worse"
    same = rate_change((1, 2), (2, 4), 1, UTC_READER)
    assert same and (same.text, same.judged) == ("0.0 points", "")
    assert rate_change((0, 0), (1, 2), 1, UTC_READER) is None
    german = rate_change((3, 4), (1, 2), 1, Reader(language="de"))
    assert german and german.text == "25,0 points"
