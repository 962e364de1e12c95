"""Email addresses are checked by one helper, wherever they are given."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.email_address import NO_RECIPIENT, is_email_address, is_recipient
from app.model.errors import explain
from app.schemas.fields import Recipient

ADDRESSES = [
    "ann@example.com",
    "ann+news@mail.example.com",
    "o'brien@example.com",
    "a..b.@docomo.example",  # assigned by a provider, against RFC 5321
    '"a b"@example.com',
    '"a\\"@b"@example.com',
    "ann@[192.0.2.1]",
    "ann@[IPv6:2001:db8::1]",
    "ann@localhost",
    "ann@under_score.example",
    "jörg@bücher.example",
    "用户@例子.example",
    "ann@💌.example",
    "!#$%&'*+-/=?^_`{|}~@example.com",
]
NEITHER = [
    "Ann <ann@example.com>",
    "<ann@example.com>",
    "ann@example.com, bob@example.com",
    "ann@example.com;bob@example.com",
    "ann@bob@example.com",
    "ann@",
    "@example.com",
    "ann@.example.com",
    "ann@example..com",
    "ann@example.com.",
    "ann@exam ple.com",
    "ann smith@example.com",
    '"ann@example.com',
    "ann@[192.0.2.1",
    "mailto:ann@example.com",
    "ann@example.com\n",
    "ann@exam\u00a0ple.com",
]
IDS = ["42", "customer 42", "6b7c-ä", "<ann>", " x"]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_email_address_is_accepted(text: str) -> None:
    assert is_email_address(text) and is_recipient(text) and is_recipient(f" {text} ")


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_no_email_address_and_has_an_at_is_refused(text: str) -> None:
    assert not is_email_address(text) and not is_recipient(text)
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({"recipient": text}, dict[str, Recipient])
    assert explain(refused.value)[0] == NO_RECIPIENT


@pytest.mark.parametrize("text", IDS)
def test_an_id_without_an_at_is_a_recipient(text: str) -> None:
    assert not is_email_address(text) and is_recipient(text)


@pytest.mark.parametrize("text", ["", " ", "\ta", "a\x7f", "a\n"])
def test_what_has_control_characters_or_is_empty_is_no_recipient(text: str) -> None:
    assert not is_email_address(text) and not is_recipient(text)


@given(st.emails())
def test_any_email_address_of_the_standard_is_accepted(text: str) -> None:
    assert is_email_address(text)


@given(st.text())
def test_the_check_of_requests_is_the_same(text: str) -> None:
    try:
        msgspec.convert(text, Recipient)
        accepted = True
    except msgspec.ValidationError:
        accepted = False
    assert accepted == (is_recipient(text) and len(text) <= 512)
