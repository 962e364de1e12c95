"""Another MIME parser reads what was rewritten: postal-mime, from npm, of which `make test` tries a
sample and `make torture` the whole.

Marks are put into bodies. It must find each, and without them what it finds in the original.
"""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.rewriting import mime
from app.rewriting.mime import Edit, Leaf
from tests.support.hostile_mail import MESSAGE
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS

POSTAL = ROOT / ".venv/npm/node_modules/postal-mime/dist/esm/postal-mime.js"
LONG = "MAILWAKE_TORTURE" in os.environ
MARK = b"mark" + b"0123456789" * 9 + b"kram"
SEEN = MARK.decode()
pytestmark = [
    pytest.mark.skipif(not POSTAL.is_file(), reason="postal-mime is not installed: no npm"),
    *([pytest.mark.torture] if LONG else []),
]


class Postal:
    """postal-mime in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(ROOT / "tests" / "support" / "postal_mime.mjs"), POSTAL.as_uri()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def read(self, message: bytes) -> dict[str, Any]:
        """What it finds, or its error."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(base64.b64encode(message) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def postal() -> Iterator[Postal]:
    running = Postal()
    yield running
    running.stop()


def compared(postal: Postal, message: bytes, kind: str, fold: bool = False) -> int:
    """How many marks went into bodies of that kind; all that is read is compared."""
    put_in = 0

    def marks(leaf: Leaf, body: bytes) -> Sequence[Edit]:
        nonlocal put_in
        wide = (leaf.charset or "").startswith(("utf-16", "iso-2022"))
        if leaf.kind != kind or wide or re.search(rb"[\x1b\0]|\r(?!\n)", body):
            return []
        # No second byte of any charset's characters is one of these.
        pattern = rb"[<:!]" if leaf.flowed else rb"[<:!]|\r?\n"
        places = [match.start() for match in re.finditer(pattern, body)]
        put_in += len(places)
        return [Edit(place, place, MARK) for place in places]

    rewritten = mime.rewrite(message, marks, fold)
    assert not rewritten.unchanged
    if not rewritten.edits:
        return 0
    before, after = postal.read(message), postal.read(rewritten.message)
    if "error" in before:
        assert before == after
        return 0
    part = "html" if kind == "text/html" else "text"
    assert after[part].replace(SEEN, "") == before[part]
    assert after[part].count(SEEN) == put_in
    assert after["attachments"] == before["attachments"]
    encoding = "content-transfer-encoding"
    kept = [[h for h in read["headers"] if h[0] != encoding] for read in (before, after)]
    assert kept[0] == kept[1]
    return put_in


@settings(
    max_examples=5_000 if LONG else 100, suppress_health_check=list(HealthCheck), deadline=None
)
@given(MESSAGE, st.sampled_from(["text/html", "text/plain"]), st.booleans())
def test_any_message_reads_the_same(postal: Postal, message: bytes, kind: str, fold: bool) -> None:
    compared(postal, message, kind, fold)


def test_real_messages_read_the_same(postal: Postal, shared: Path) -> None:
    paths = sorted((shared / "mime").iterdir())
    marked = 0
    for path in paths if LONG else paths[::5]:
        for kind in ("text/html", "text/plain"):
            marked += bool(compared(postal, path.read_bytes(), kind, fold=True))
    assert marked > (80 if LONG else 15)
