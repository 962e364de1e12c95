"""What docs/security.md promises is shown by tests that exist."""

import re

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def test_every_test_that_the_threat_model_names_is_there() -> None:
    assert len(NAMED) > 30
    for file, test in NAMED:
        source = (ROOT / file).read_text()
        assert not test or f"def {test}(" in source, f"{file}::{test}"


def test_every_threat_says_what_stops_it_and_what_shows_that() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if len(row) == 3 and "Attack" not in row[0]]
    assert len(threats) > 20
    for row in threats:
        assert all(cell.strip() for cell in row) and "`tests/" in row[2], row
