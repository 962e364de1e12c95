import hmac
import os
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tracking.tokens import (
    BadTokenError,
    Hmac128,
    LinkToken,
    MessageToken,
    TokenReaders,
    Tokens,
)

KEYS = ["first-key-0123456789", "second-key-0123456789"]
TOKENS = Tokens(KEYS)
U64 = st.integers(0, 2**64 - 1)
BYTE = st.integers(0, 255)
MESSAGES = st.builds(
    MessageToken, st.binary(min_size=16, max_size=16), U64, U64, BYTE, BYTE, st.just("default")
)
URLS = st.from_regex(r"https?://[!-~]{1,200}", fullmatch=True)
LINKS = st.builds(
    LinkToken, U64, st.integers(0, 0xFFFF), URLS, U64, st.integers(0, 2**32 - 1), st.integers(0, 15)
)


@given(MESSAGES)
def test_a_message_token_says_what_was_put_in(token: MessageToken) -> None:
    text = TOKENS.message(token)
    assert TOKENS.read_message(text) == token
    assert len(text) == 71
    assert "." not in text and "=" not in text


@given(LINKS)
def test_a_link_token_says_what_was_put_in(token: LinkToken) -> None:
    assert TOKENS.read_link(TOKENS.link(token)) == token


def test_a_long_common_url_is_compressed() -> None:
    url = "https://www.example.com/products/boots?utm_source=newsletter&utm_medium=email" * 4
    assert len(TOKENS.link(LinkToken(1, 2, url))) < len(url) / 2


@given(MESSAGES, st.data())
def test_no_changed_message_token_is_accepted(token: MessageToken, data: st.DataObject) -> None:
    _no_mutation_verifies(TOKENS.message(token), TOKENS.read_message, data)


@given(LINKS, st.data())
def test_no_changed_link_token_is_accepted(token: LinkToken, data: st.DataObject) -> None:
    _no_mutation_verifies(TOKENS.link(token), TOKENS.read_link, data)


def _no_mutation_verifies(text: str, read: object, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    changed = data.draw(
        st.one_of(
            st.characters().map(lambda c: text[:place] + c + text[place + 1 :]),
            st.characters().map(lambda c: text[:place] + c + text[place:]),
            st.just(text[:place]),
            st.just(text + "="),
            st.just(text + "A"),
        ).filter(lambda changed: changed != text)
    )
    assert callable(read)
    with pytest.raises(BadTokenError):
        read(changed)


def test_spare_bits_of_the_last_character_are_no_second_spelling() -> None:
    text = TOKENS.message(MessageToken(os.urandom(16), 1, 2))
    raw = urlsafe_b64decode(text + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twins = [t for c in alphabet if urlsafe_b64decode((t := text[:-1] + c) + "=") == raw]
    assert len(twins) > 1
    for twin in twins:
        if twin == text:
            continue
        with pytest.raises(BadTokenError):
            TOKENS.read_message(twin)


def test_the_purposes_have_different_keys() -> None:
    token = MessageToken(os.urandom(16), 1, 2)
    with pytest.raises(BadTokenError, match="signature"):
        TOKENS.read_unsubscribe(_resalted(TOKENS.message(token), TOKENS.unsubscribe(token)))
    with pytest.raises(BadTokenError):
        TOKENS.read_message(TOKENS.unsubscribe(token))
    with pytest.raises(BadTokenError):
        TOKENS.read_link(TOKENS.message(token))


def _resalted(text: str, other: str) -> str:
    """`text` with the key id of `other`: only the signature can still tell them apart."""
    raw, head = urlsafe_b64decode(text + "="), urlsafe_b64decode(other + "=")[:3]
    return urlsafe_b64encode(head + raw[3:]).rstrip(b"=").decode()


def test_every_key_verifies_and_the_first_signs() -> None:
    token = MessageToken(os.urandom(16), 1, 2)
    assert TOKENS.read_message(Tokens([KEYS[1]]).message(token)) == token
    assert Tokens([KEYS[0]]).read_message(TOKENS.message(token)) == token
    with pytest.raises(BadTokenError):
        Tokens(["third-key-0123456789"]).read_message(TOKENS.message(token))


@given(MESSAGES, LINKS)
def test_readers_tell_whose_key_has_signed(token: MessageToken, link: LinkToken) -> None:
    acme, other = Tokens(["acme-key-0123456789"], "acme"), Tokens(KEYS, "other")
    both, neither = TokenReaders([acme, other]), TokenReaders([Tokens(["third-key-0123456789"])])
    for tokens in (acme, other):
        owned = token._replace(workspace=tokens.workspace)
        assert both.read_message(tokens.message(token)) == owned
        assert both.read_unsubscribe(tokens.unsubscribe(token)) == owned
        assert both.read_link(tokens.link(link)) == link
        for reader in (neither, TokenReaders([])):
            with pytest.raises(BadTokenError):
                reader.read_message(tokens.message(token))
    with pytest.raises(BadTokenError):
        both.read_link(acme.message(token))


def test_workspaces_whose_keys_share_their_id_are_told_apart() -> None:
    by_head: dict[str, list[Tokens]] = {}
    for number in range(3000):  # of 65,536 ids: a pair is as good as certain
        tokens = Tokens([f"key-number-{number:08}"], str(number))
        by_head.setdefault(next(iter(tokens.heads()["message"])), []).append(tokens)
    twins = next(pair for pair in by_head.values() if len(pair) > 1)
    for tokens in twins:
        token = MessageToken(os.urandom(16), 1, 2, workspace=tokens.workspace)
        assert TokenReaders(twins).read_message(tokens.message(token)) == token


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//host/",
        "https://a/\r\nX: y",
        "https://a/ b",
        "https://ä/",
        "",
        "http://",
    ],
)
def test_a_url_that_no_location_header_may_carry_is_not_signed(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        TOKENS.link(LinkToken(1, 2, url))


def test_a_link_position_has_sixteen_bits() -> None:
    with pytest.raises(ValueError, match="position"):
        TOKENS.link(LinkToken(1, 65_536, "https://example.com/"))


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_the_signature_is_hmac_sha_256_cut_to_128_bits(key: bytes, text: bytes) -> None:
    expected = hmac.digest(key, text, "sha256")[:16]
    assert Hmac128().get_signature(key, text) == expected
    assert Hmac128().verify_signature(key, text, expected)
    assert not Hmac128().verify_signature(key, text, expected[:-1] + bytes([expected[-1] ^ 1]))


@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
@pytest.mark.torture
def test_a_million_changed_tokens_are_refused() -> None:
    rng = random.Random(20261124)
    made: list[tuple[str, Callable[[str], object]]] = [
        (TOKENS.message(MessageToken(os.urandom(16), 1, 2)), TOKENS.read_message),
        (TOKENS.unsubscribe(MessageToken(os.urandom(16), 1, 2)), TOKENS.read_unsubscribe),
        (TOKENS.link(LinkToken(1, 2, "https://example.com/boots?a=1")), TOKENS.read_link),
    ]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=.%"
    refused = 0
    while refused < 1_000_000:
        token, read = made[refused % 3]
        changed = list(token)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(changed))
            changed[place : place + rng.randint(0, 2)] = rng.choices(letters, k=rng.randint(0, 2))
        text = "".join(changed)
        if text == token:
            continue
        try:
            read(text)
        except BadTokenError:
            refused += 1
        else:
            raise AssertionError(text)
