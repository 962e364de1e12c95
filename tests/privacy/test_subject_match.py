"""How an email address is spelt in data; what is found by it is in integration/test_erasure.py."""

from base64 import urlsafe_b64decode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.privacy.subject_match import SubjectMatcher, spellings

ADDRESS = "ann@example.com"
# As other programs compute them (`printf ann@example.com | md5sum` and the like).
KNOWN = (
    "ANN@example.com",
    "257c57037d384ae37ea27a07e8a01665",
    "71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476",
    "YW5uQGV4YW1wbGUuY29t",
)


def matcher(*addresses: str) -> SubjectMatcher:
    return SubjectMatcher("default", frozenset({7}), addresses, "secret")


@given(st.emails(), st.text(max_size=5), st.booleans())
def test_every_spelling_is_found_wherever_it_is(address: str, around: str, upper: bool) -> None:
    address = address.lower()
    for spelling in spellings(address):
        for form in (spelling, quote(spelling, safe="")):
            shown = form.upper() if upper else form
            assert matcher(address).names.search(f"{around}{shown}{around}".encode())
    assert matcher("other@example.org", "").names.search(around.encode()) is None


@given(st.emails())
def test_base64_decodes_to_the_email_address(address: str) -> None:
    *_, text = spellings(address)
    assert urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode() == address


def test_nobody_is_found_by_no_email_address() -> None:
    assert spellings("") == ()
    assert matcher("").names.search(b"anything") is None
    assert matcher("").words.search(b"of 7 people") and not matcher("").words.search(b"17")


@pytest.mark.parametrize("text", KNOWN)
def test_spellings_are_those_that_others_write(text: str) -> None:
    assert matcher(ADDRESS).names.search(f"https://x.example/?u={text}&v=1".encode())
