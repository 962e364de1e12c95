"""What stands where in the README. Its tour is run by tests/test_blocks.py."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_two_commands_stand_first() -> None:
    screen = (ROOT / "README.md").read_text()[:800]
    assert "make demo" in screen and "make test" in screen


def test_every_file_that_the_docs_name_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name}: {name}"
