import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.message_list import Criteria, criteria

ID = uuid.UUID("01a22274-76c2-7a03-9b3a-216739bd82ce")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Criteria()),
        (str(ID), Criteria(messages=[ID])),
        (f" {ID.hex} ", Criteria(messages=[ID])),
        ("ann@example.com", Criteria(recipients=[15], rfc_message_id="ann@example.com")),
        ("<1.2@mail.example>", Criteria(text="1.2@mail.example")),
        ("order = 17", Criteria(keys=["order"], values=["17"])),
        ("order=", Criteria(keys=["order"], values=[""])),
        ("=17", Criteria(text="=17")),
        ("Your receipt", Criteria(text="Your receipt")),
    ],
)
def test_a_text_says_what_it_searches_for(text: str, expected: Criteria) -> None:
    assert criteria(text, len) == expected


@given(st.text())
def test_any_text_has_criteria(text: str) -> None:
    of = criteria(text, len)
    assert (of == Criteria()) == (not text.strip() or not text.strip().strip("<>"))
