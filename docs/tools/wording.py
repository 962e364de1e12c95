"""Reports words that readers stumble over, in documentation, pages, error texts and comments.

Run by `make lint`. Exits with 1 if there is a finding. Code, code spans, URLs and quoted text are
ignored. Add a word to WORDS when a review finds one; add a file to LATER only with a plan.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

# What is checked, as patterns of paths below ROOT.
DOCUMENTS = ("*.md", "docs/*.md", "docs/howto/*.md", "docs/reference/*.md")
TEMPLATES = ("app/templates/*.html", "app/templates/**/*.html")
SOURCES = ("app/*.py", "app/**/*.py")

# Not checked yet: texts that are still to be rewritten.
LATER: tuple[str, ...] = ()
# Not checked: kept as they are.
KEPT_FILES = (
    "docs/reference/tokens.md",
    "app/templates/login.html",
    "app/templates/unsubscribe.html",
)
KEPT_TABLES = ("| Reason | Why |", "| What | Recipients | Mailers | Figures |")

# Sources whose docstrings and comments are checked too. Add a package once it is rewritten.
COMMENTED = ("app/*", "clickhouse/queries/*")
QUERIES = ("clickhouse/queries/*.sql", "clickhouse/queries/*.part")

# Pattern (case is ignored, a space matches any white space) and what to write instead.
WORDS = {
    r"told|tells|telling": "sent, notified, reports, returns, distinguishes",
    r"stands(?!-)|stood|standing": "is, is shown, is written",
    r"mend(?:s|ed|ing)?": "fix",
    r"(?:is|are|was|be|being) away": "unavailable",
    r"of whom|(?:of|for|from|to|by|with) who": "a noun: 'of users who ...'",
    r"whoever|whomever|nobody's": "a noun: 'anyone who ...', 'users who ...'",
    r"anew": "again",
    r"(?:is|are|was|were|be|been|being) made": "created, computed, sent",
    r"hears?(?: of| about)?|heard of": "receives",
    r"(?:go|goes|going|went) on": "continue, keep",
    r"in earnest": "in production",
    r"at hand": "available, current",
    r"beside": "next to, with, in addition to",
    r"ledger": "recorded messages, the table messages",
    r"holes?": "vulnerability",
    r"(?:is|are|was|were) of (?:the whole|one|no|this|that)": "belongs to, covers",
    r"(?:live|lives|lived) in (?:its|the|their) (?:url|address)": "is part of the URL",
    # A web page has a URL, a person an email address, a computer an IP address.
    r"(?!(?:ip|ipv4|ipv6|email|translated)\b)[\w'-]+\W+address(?:es)?": "URL, email or IP address",
}
RULES = [
    (re.compile(rf"\b(?:{words.replace(' ', chr(92) + 's+')})\b", re.IGNORECASE), advice)
    for words, advice in WORDS.items()
]
# A sentence that begins with "Who" and is not a question.
SUBJECT = re.compile(r"(?:^|(?<=[.:;|*]\s)|(?<=\*\*))Who\s[^?.;:|]*[.;:|]", re.MULTILINE)
RULES.append((SUBJECT, "a noun: 'Users who ...', 'Requests that ...'"))

MARKDOWN_IGNORED = re.compile(
    r"^```.*?^```|<!--.*?-->|`[^`]*`|\]\([^)]*\)|https?://\S+|[\"“][^\"”\n]*[\"”]",
    re.MULTILINE | re.DOTALL,
)
JINJA = re.compile(r"\{[%#].*?[%#]\}|\{\{.*?\}\}", re.DOTALL)
MARKUP = re.compile(
    r"<(?:script|style|code)\b.*?</(?:script|style|code)>"
    r"|(?<=[\s\"'])(?!title|alt|placeholder|aria-label)[\w-]+=(?:\"[^\"]*\"|'[^']*')|</?[\w-]+",
    re.DOTALL,
)
SQL = re.compile(r"\s*(?:--|SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|PRAGMA|REPLACE)\b")


class Finding(NamedTuple):
    """A word, where it is, and what to write instead."""

    path: Path
    line: int
    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words!r}: write {self.advice}"


def main() -> int:
    """Print every finding and return the exit status."""
    findings = [finding for path in _paths() for finding in findings_in(path)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def findings_in(path: Path) -> list[Finding]:
    """Returns the findings of one file by line; `path` is relative to ROOT."""
    text = (ROOT / path).read_text()
    return sorted(
        Finding(path, line + part.count("\n", 0, match.start()), " ".join(match[0].split()), advice)
        for line, part in _texts(path, text)
        for rule, advice in RULES
        for match in rule.finditer(part)
    )


def _paths() -> Iterator[Path]:
    patterns = (*DOCUMENTS, *TEMPLATES, *SOURCES, *QUERIES)
    paths = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    for path in sorted(paths):
        later = _matches(path, LATER) and not _matches(path, COMMENTED)
        if not later and not _matches(path, KEPT_FILES):
            yield path


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(str(path), pattern) for pattern in patterns)


def _texts(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yields the readable parts of a file with the line on which each begins."""
    if path.suffix == ".md":
        for heading in KEPT_TABLES:
            text = re.sub(rf"^{re.escape(heading)}\n(?:\|.*\n)+", _blank, text, flags=re.MULTILINE)
        yield 1, MARKDOWN_IGNORED.sub(_blank, text)
    elif path.suffix == ".html":
        yield 1, MARKUP.sub(_blank, JINJA.sub(_blank, text))
    elif path.suffix == ".py":
        tree = ast.parse(text)
        if not _matches(path, LATER):
            yield from _literals(tree)
        if _matches(path, COMMENTED):
            yield from _docstrings(tree)
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            yield from _comments(
                (token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT
            )
    else:
        yield from _comments(
            (number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.startswith("--")
        )


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, MARKDOWN_IGNORED.sub(_blank, text)


def _comments(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yields comments; those on consecutive lines are one text."""
    first, texts = 0, list[str]()
    for number, line in lines:
        if texts and number != first + len(texts):
            yield first, MARKDOWN_IGNORED.sub(_blank, "\n".join(texts))
            texts = []
        first = first if texts else number
        texts.append(line.lstrip("#- "))
    if texts:
        yield first, MARKDOWN_IGNORED.sub(_blank, "\n".join(texts))


def _literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields string literals that are sentences: neither docstrings nor SQL nor single words."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) not in docstrings and " " in node.value and not SQL.match(node.value):
            yield node.lineno, re.sub(r"`[^`]*`", _blank, node.value)


def _blank(match: re.Match[str]) -> str:
    """Returns as many lines as were matched, so that the numbers of lines stay right."""
    return "\N{BULLET}" + "\n" * match[0].count("\n")


if __name__ == "__main__":
    sys.exit(main())
