"""README, CONTRIBUTING and CHANGELOG keep up. What they tell to type, test_blocks.py runs."""

import re
import tomllib

from app import __version__
from tests.support.paths import ROOT

CHANGES = (ROOT / "CHANGELOG.md").read_text()


def test_the_two_commands_stand_first() -> None:
    screen = (ROOT / "README.md").read_text()[:800]
    assert "make demo" in screen and "make test" in screen


def test_every_file_that_the_docs_name_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name}: {name}"


def test_the_tour_of_the_code_has_a_line_for_each_package() -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text().partition("```text")[2].partition("```")[0]
    packages = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")} - {"demo"}
    lines = tour.strip().splitlines()
    assert {line.split()[0] for line in lines} == packages
    assert len(lines) <= 21
    for line in lines:
        for name in re.findall(r"(\w+\.py)", line):
            assert (ROOT / "app" / line.split()[0] / name).exists(), name


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert re.search(rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$", CHANGES, re.MULTILINE)
