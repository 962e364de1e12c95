import hashlib
import random
import string
from base64 import urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.links.randomness import _ALPHABET, is_random


@pytest.mark.parametrize(
    "word",
    [
        "red-leather-boots-size-42",
        "datenschutzgrundverordnung-was-jetzt-zu-tun-ist",
        "Spring_Sale_2024_DE",
        "TheLifeAndTimesOfAPlatformTopSoftware",
        "40123456789012",
        "2024-06-12",
        "1234567890123456789",  # 19 digits, as many as 64 bits have
        "dell-xps13-9310-i7-1165g7-16gb-512gb-ssd",
        "WH-1000XM5",
        "",
        "a",
    ],
)
def test_words_numbers_and_dates_are_readable(word: str) -> None:
    assert not is_random(word)


@pytest.mark.parametrize(
    "word",
    [
        "550e8400-e29b-41d4-a716-446655440000",
        "order-550E8400-E29B-41D4-A716-446655440000",
        "ABCD-1234-EFGH-5678",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "12345678901234567890-7",
        "7f9c2ba4e88f827d616045507605853e",
        "7F9C2BA4E88F827D616045507605853E",
        "zt-1a2b3c4d5-AbCdEfGhIjKl",
    ],
)
def test_tokens_of_known_shapes_are_random(word: str) -> None:
    assert is_random(word)


@pytest.mark.parametrize(
    ("name", "size", "most"),
    [
        ("base64url", 24, 3),
        ("hex", 32, 0),
        ("hex", 16, 8),
        ("base36", 20, 12),
    ],
)
def test_random_tokens_rarely_pass_as_readable(name: str, size: int, most: int) -> None:
    """Of 1,000, by a seed of ours: the module's docstring has the measured rates."""
    draw = random.Random(1)
    words = []
    for _ in range(1000):
        raw = draw.randbytes(size)
        words.append(
            {
                "base64url": urlsafe_b64encode(raw).decode(),
                "hex": raw.hex(),
                "base36": "".join(draw.choices(string.ascii_lowercase + string.digits, k=size)),
            }[name][:size]
        )
    assert sum(not is_random(word) for word in words) <= most


@given(st.uuids())
@settings(max_examples=50)
def test_every_uuid_is_random_in_either_case(uuid: UUID) -> None:
    for word in (str(uuid), str(uuid).upper(), f"x{uuid}y"):
        assert is_random(word)


WORDS = st.sampled_from(["die", "der", "new", "shop", "Sale", "Boots", "winter", "42", "2024"])


@given(st.lists(WORDS, max_size=8))
@settings(max_examples=50)
def test_words_joined_by_separators_are_readable(words: list[str]) -> None:
    assert not is_random("-".join(words))
    assert not is_random("_".join(words))


@given(st.text(_ALPHABET, max_size=60))
@settings(max_examples=100)
def test_any_word_has_an_answer(word: str) -> None:
    assert is_random(word) in (True, False)


def test_every_pair_of_the_alphabet_is_known() -> None:
    """No pair is a KeyError."""
    for first in _ALPHABET:
        is_random("".join(first + second for second in _ALPHABET))


def test_a_digest_is_random_wherever_it_is_cut() -> None:
    digest = hashlib.sha256(b"anna@mail.example").hexdigest()
    assert all(is_random(digest[:size]) for size in range(20, 65))
