"""tests/ mirrors app/: a module's tests are in the file of the same name, or its folder says where.

The docstring of a folder's __init__.py has a line for each exception. `module: files` names the
files (from tests/ on) in which a module without a file of its own is tested, or gives a reason.
`test_name: what it covers` is for a file that no single module has the name of. Other paragraphs
of the docstring are prose.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

APP, TESTS = ROOT / "app", ROOT / "tests"
ENTRIES = ("__init__", "__main__")
# Of several packages together, of what is shipped, or no tests of app.
APART = ("integration", "e2e", "docs", "packaging", "security", "bench", "data", "support")
WHOLE = ("demo", "python_client")  # packages that are tested as a whole
_LINE = re.compile(r"^(\w+): (\S.*)$", re.MULTILINE)
_FILE = re.compile(r"\btest_\w+\.py\b|\b[\w/]+/test_\w+\.py\b")


def exceptions(folder: Path) -> dict[str, str]:
    """The lines of a test folder's docstring, by name; each name once."""
    package = TESTS / folder / "__init__.py"
    text = (ast.get_docstring(ast.parse(package.read_text())) or "") if package.exists() else ""
    lines = _LINE.findall(text)
    assert len(dict(lines)) == len(lines), f"{package}: a name twice"
    return dict(lines)


def inside(root: Path, pattern: str) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob(pattern))


MODULES = [path for path in inside(APP, "*.py") if path.stem not in ENTRIES]
FILES = [path for path in inside(TESTS, "test_*.py") if path.parts[0] not in (*APART, *WHOLE)]
FOLDERS = sorted({path.parent for path in inside(TESTS, "__init__.py")})


def test_every_module_has_its_tests_or_a_line_that_says_where_they_are() -> None:
    missing = [
        str(module)
        for module in MODULES
        if not (TESTS / module.parent / f"test_{module.name}").exists()
        and module.stem not in exceptions(module.parent)
    ]
    assert missing == []


def test_every_file_of_tests_has_its_module_or_a_line_that_says_what_it_covers() -> None:
    strange = [
        str(file)
        for file in FILES
        if not (APP / file.parent / file.name.removeprefix("test_")).exists()
        and file.stem not in exceptions(file.parent)
    ]
    assert strange == []


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_line_is_needed_and_names_files_that_exist(folder: Path) -> None:
    for name, text in exceptions(folder).items():
        if name.startswith("test_"):
            assert (TESTS / folder / f"{name}.py").exists(), f"{folder}: {name} is no file"
            continue
        assert (APP / folder / f"{name}.py").exists(), f"{folder}: {name} is no module"
        own = TESTS / folder / f"test_{name}.py"
        assert not own.exists(), f"{folder}: {name} has a file of its own by now"
        for file in _FILE.findall(text):
            assert (TESTS / file).exists(), f"{folder}: {name}: {file} does not exist"


def test_what_is_longer_in_torture_is_run_there() -> None:
    """`make torture` selects by the mark: without it a longer form is never run."""
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        if re.search(r"environ.*MAILWAKE_TORTURE|MAILWAKE_TORTURE.*environ|import LONG", text):
            assert "mark.torture" in text or re.search(r"@longer|\(longer", text), path
