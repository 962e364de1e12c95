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


SECTIONS = {  # of ASVS 5.0, with requirements of level 1 or 2
    1: (1, 2, 3, 4, 5),
    2: (1, 2, 3, 4),
    3: (2, 3, 4, 5, 7),
    4: (1, 2, 3, 4),
    5: (1, 2, 3, 4),
    6: (1, 2, 3, 4, 5),
    7: (1, 2, 3, 4, 5, 6),
    8: (1, 2, 3, 4),
    9: (1, 2),
    11: (1, 2, 3, 4, 5, 6),
    12: (1, 2, 3),
    13: (1, 2, 3, 4),
    14: (1, 2, 3),
    15: (1, 2, 3),
    16: (1, 2, 3, 4, 5),
}


def test_the_asvs_table_has_every_section_and_says_what_shows_it_or_what_is_missing() -> None:
    _, _, table = PAGE.partition("## OWASP ASVS 5.0, level 2")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    rows = [row for row in rows if len(row) == 4 and re.match(r"\d", row[0])]
    named = {number for row in rows for number in re.findall(r"\b\d+\.\d+\b", row[0])}
    assert named >= {f"{chapter}.{n}" for chapter, all_ in SECTIONS.items() for n in all_}
    assert {row[0].split()[0] for row in rows} >= {"10", "17"}
    for section, result, shown, missing in rows:
        assert result in ("met", "partly", "not met", "not applicable"), section
        assert result != "met" or "`tests/" in shown or "`docs/" in shown, section
        assert result in ("met", "not applicable") or missing, section
        for file in re.findall(r"`((?:docs|requirements)[\w/.]+)`", shown):
            assert (ROOT / file).exists(), section


def test_every_threat_says_what_stops_it_and_what_shows_that() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if len(row) == 3 and "Attack" not in row[0]]
    assert len(threats) > 20
    for row in threats:
        assert all(cell.strip() for cell in row) and "`tests/" in row[2], row
