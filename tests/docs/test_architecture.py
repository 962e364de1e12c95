"""Each promise of docs/architecture.md names tests that exist."""

import re

from tests.support.paths import ROOT


def test_every_row_of_faults_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split("### Faults, and what holds")[1].split("What is not promised")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 5
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert names, row
        for name in names:
            assert f"def {name}(" in tests, name
