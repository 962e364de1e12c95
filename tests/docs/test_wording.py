"""docs/tools/wording.py: finds unusual words, but not in code, URLs and quotations."""

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SPEC = importlib.util.spec_from_file_location("wording", ROOT / "docs" / "tools" / "wording.py")
assert SPEC and SPEC.loader
wording = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(wording)


Found = Callable[[str, str], list[tuple[int, str]]]


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """Returns the lines and words that are found in a file of a given name and text."""
    monkeypatch.setattr(wording, "ROOT", tmp_path)

    def words(name: str, text: str) -> list[tuple[int, str]]:
        (tmp_path / name).write_text(text)
        return [(each.line, each.words) for each in wording.findings_in(Path(name))]

    return words


@pytest.mark.parametrize(
    "text",
    [
        "Webhooks are told of it.", "The figures stand; nothing stands here.", "How to mend it.",
        "ClickHouse is\naway.", "the groups, of whom most", "a rate of who consents",
        "Whoever clicks", "The address of the page", "its\naddresses", "A key is made.",
        "First. Who unsubscribes is suppressed.", "**Who has a key** signs.", "It goes\n on.",
    ],
)  # fmt: skip
def test_a_word_that_readers_stumble_over_is_found(found: Found, text: str) -> None:
    assert len(found("page.md", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "`told` is a name, and so is\n`the address`.", 'The label "told" is quoted.',
        "See [the page](https://example.com/told) and https://example.com/mend now.",
        "```text\ntold\n```", "An IP address, email addresses, an email\n  address.",
        "Who is missing? A stand-in. Users who click.",
        "| Reason | Why |\n|---|---|\n| a | told |\n",
    ],
)  # fmt: skip
def test_code_urls_quotations_and_kept_tables_are_ignored(found: Found, text: str) -> None:
    assert found("page.md", text) == []


def test_docstrings_and_comments_are_checked_where_a_package_is_listed(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '"""One is told."""\n\nX = 1\n# The figures are\n# away.\nY = "who was told"  # anew\n'
    assert found("a.py", text) == [(6, "told")]
    monkeypatch.setattr(wording, "COMMENTED", ("a.py", "a.sql"))
    assert found("a.py", text) == [(1, "told"), (4, "are away"), (6, "anew"), (6, "told")]
    monkeypatch.setattr(wording, "LATER", ("a.py",))
    assert found("a.py", text) == [(1, "told"), (4, "are away"), (6, "anew")]
    assert found("a.sql", "-- Hits that are\n-- away.\nSELECT told\n") == [(1, "are away")]


def test_the_line_of_a_finding_is_right(found: Found) -> None:
    assert found("page.md", "# Title\n\n```sh\nls\n```\n\nThis was told.\n") == [(7, "told")]


def test_pages_are_checked_by_what_a_reader_sees(found: Found) -> None:
    page = '{% if told %}<a class="told" href="/told" title="Mend it">{{ x.told }} stands</a>'
    assert {words for _, words in found("page.html", page)} == {"Mend", "stands"}


def test_sentences_in_code_are_checked(found: Found) -> None:
    code = '"""Told of it."""\nX = "told"\nY = "it was told"\nZ = "INSERT INTO told VALUES (1)"\n'
    assert found("module.py", code) == [(3, "told")]


def test_the_documentation_has_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert wording.main() == 0, capsys.readouterr().out


# With these no docstring of a function begins: it says what the function does or returns.
NO_VERBS = {
    "A",
    "All",
    "An",
    "Another",
    "As",
    "At",
    "By",
    "Each",
    "Every",
    "For",
    "From",
    "Half",
    "Here",
    "How",
    "If",
    "In",
    "Its",
    "Left",
    "Like",
    "Most",
    "No",
    "Nothing",
    "Of",
    "On",
    "One",
    "Only",
    "Same",
    "Several",
    "Some",
    "The",
    "Their",
    "To",
    "Two",
    "Up",
    "What",
    "When",
    "Where",
    "Whether",
    "Which",
    "Who",
    "With",
}


def test_docstrings_begin_with_a_verb() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or "Returns").split()[0] in NO_VERBS
    ]
    assert found == []
