import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model import records
from app.model.records import (
    BLANK,
    NO_LINK,
    Carried,
    Hit,
    Link,
    Message,
    Newsletter,
    Outcome,
    PlacedLink,
    Record,
    RecordError,
    decode,
    encode,
)

# Whatever a field holds: text of any script, line ends and control characters among it.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
KEYS = st.integers(0, 2**64 - 1)


ID = "0192f3c4a5b67c8d9e0f1a2b3c4d5e6f"


@given(TEXTS, KEYS, st.integers(0, 2**31 - 1))
@settings(max_examples=50)
def test_a_record_is_one_line_and_comes_back(text: str, key: int, number: int) -> None:
    kept: list[Record] = [
        Hit("open", number, text, key, ID, key, number, text, user_agent=text, link=key),
        Message(number, text, key, ID, key, text, 1, 2, {text: text}, text),
        Newsletter(number, text, key, text, None, text, (text, text)),
        Link(number, text, key, key, key, number, text, text, text, number, text, (text,), True),
        PlacedLink(number, text, key, number, text, text, (text,)),
        Carried(number, text, key, (key, key), number, 3),
        Outcome(number, 0, text, text, "bounced", ID, text, key, key, True, text, text, text),
    ]
    for record in kept:
        line = encode(record)
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        assert decode(line) == record


def test_names_on_the_wire_are_those_of_version_0_1() -> None:
    hit = Hit("click", 5, "w", 1, "m", 2, 3, "https://e.example", link=9, detail=8, flags=7)
    assert json.loads(encode(hit)) == {
        "record": "hit",
        "kind": "click",
        "at": 5,
        "workspace": "w",
        "newsletter": 1,
        "message": "m",
        "recipient": 2,
        "link": 3,  # the position
        "url": "https://e.example",
        "key": 9,
        "detail": 8,
        "flags": 7,
    }
    assert json.loads(encode(Link(1, "w", 2, 3, 4, 5, "u", "t")))["record"] == "target"
    assert json.loads(encode(PlacedLink(1, "w", 2, 3, "u")))["record"] == "link"


def test_a_short_line_of_an_older_version_has_defaults() -> None:
    line = b'{"record":"hit","kind":"open","at":1,"workspace":"w","newsletter":1'
    hit = decode(line + b',"message":"%s","recipient":2}' % ID.encode())
    assert isinstance(hit, Hit)
    assert (hit.position, hit.link, hit.method, hit.mode) == (NO_LINK, 0, "GET", 0)


def test_fields_of_a_newer_version_are_ignored() -> None:
    line = encode(Carried(1, "w", 2, (3,), 4)).rstrip(b"}\n") + b',"new":[1]}'
    assert decode(line) == Carried(1, "w", 2, (3,), 4)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"record":"none"}',
        b'{"record":"hit"}',
        b'{"record":"hit","kind":"x"}',
    ],
)
def test_other_lines_are_no_record(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode(line)


def test_what_is_not_stated_differs_from_what_is_empty() -> None:
    silent, cleared = Newsletter(1, "w", 2, "n"), Newsletter(1, "w", 2, "n", "", "", ())
    assert decode(encode(silent)) == silent != cleared == decode(encode(cleared))


def test_blanked_columns_are_of_hits() -> None:
    assert BLANK["recipient"] == records.NOBODY
    own = {*Hit.__struct_fields__, "asn"}  # asn is a column that rows add
    assert set(BLANK) <= own
