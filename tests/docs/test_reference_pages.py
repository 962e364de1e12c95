"""What docs/reference says is what the code says."""

import json

import msgspec
import pytest

from app.schemas.events import (
    Due,
    EventOut,
)
from docs.tools.references import OUT, pages
from tests.support.doc_blocks import blocks
from tests.support.paths import ROOT

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_fresh(name: str) -> None:
    assert (OUT / name).read_text() == PAGES[name], "run `make reference`"


def test_nothing_is_left_out() -> None:
    for name, words in {
        "api.md": ("`POST /v1/rewrite`", "### RewriteIn", "[RewriteOut](#rewriteout)"),
        "cli.md": ("## mailwake serve", "--clickhouse-dsn", "## mailwake report NEWSLETTER"),
        "metrics.md": ("`mailwake_hits_total` | counter", "`mailwake_load_seconds` | histogram"),
        "events.md": ("`message.clicked`", "`followup.due`", "### EventOut", "clicked or"),
    }.items():
        assert all(word in PAGES[name] for word in words), name


def test_the_events_of_the_docs_are_events() -> None:
    page = blocks(ROOT / "docs" / "events.md")
    told, due = (one.text for one in page if one.language == "json")
    for text, kind in ((told, EventOut), (due, Due)):
        msgspec.json.decode(text, type=kind)
        rare = {"previous_verdict", "variant", "experiment", "outcome"}  # where there is one
        assert set(json.loads(text)) == {f.name for f in msgspec.structs.fields(kind)} - rare
