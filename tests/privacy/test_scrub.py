"""Samples whose recipient was erased; everything else is in integration/test_erasure.py."""

from pathlib import Path

import msgspec
import pytest

from app.messages.templates import SampleMail
from app.privacy.scrub import scrub_files
from app.privacy.subject_match import SubjectMatcher

THEIRS, ANOTHERS = 2**64 - 1, 5


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (msgspec.json.encode(SampleMail("<p>x", recipient=THEIRS)), False),
        (msgspec.json.encode(SampleMail("<p>x", recipient=ANOTHERS)), True),
        (msgspec.json.encode(SampleMail("<p>ann@example.com", recipient=ANOTHERS)), False),
        (b'{"html": "<p>of version 0.1, which recorded no recipient"}', False),
        (b'{"html": ', False),
    ],
)
def test_a_sample_goes_with_the_person_whose_mail_it_was(
    tmp_path: Path, content: bytes, stays: bool
) -> None:
    (tmp_path / "templates").mkdir()
    sample, template = (tmp_path / "templates" / f"0.{kind}" for kind in ("sample", "json"))
    sample.write_bytes(content)
    template.write_bytes(content)
    marks = SubjectMatcher("default", frozenset({THEIRS}), ("ann@example.com",), "secret")
    assert scrub_files(tmp_path, marks) == (not stays)
    assert (sample.exists(), template.exists()) == (stays, True)
