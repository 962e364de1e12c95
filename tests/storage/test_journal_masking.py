"""Lines of the journal without secrets load as the lines themselves do."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from app.ingest.rows import rows
from app.links.identity import FULL_URL
from app.model.records import Hit, Message, PlacedLink, encode
from app.storage.journal_masking import masked

SECRET = "Zk3J9qLw8VtX2bNc7RyP"
URLS = st.sampled_from(
    [
        f"https://shop.example/reset?token={SECRET}",
        f"https://shop.example/p/{SECRET}/x#k={SECRET}",
        "https://shop.example/boots",
        "https://shop.example/help?utm_source=mail",
        "",
    ]
)
HITS = st.builds(
    Hit,
    st.sampled_from(["click", "open"]),
    st.integers(0, 2**41),
    st.just("default"),
    st.integers(1, 9),
    st.just(uuid.UUID(int=7).hex),
    st.integers(1, 99),
    st.integers(-1, 5),
    URLS,
    link=st.integers(0, 9),
    flags=st.sampled_from([0, 1]),
)


@given(st.lists(HITS, max_size=10))
def test_what_was_masked_loads_as_what_was_not(hits: list[Hit]) -> None:
    lines = b"".join(map(encode, hits))
    hidden = masked(lines)
    assert SECRET.encode() not in hidden
    assert masked(hidden) == hidden
    name = str(uuid.UUID(int=1))
    assert rows(hidden, name, 1).tables == rows(lines, name, 1).tables


def test_other_lines_stay_and_torn_ones_lose_their_urls() -> None:
    message = encode(Message(1, "default", 1, uuid.UUID(int=7).hex, 1, "https://a@example.com"))
    whole = encode(
        Hit(
            "click", 1, "d", 1, "0" * 32, 1, 0, f"https://x.example/?token={SECRET}", flags=FULL_URL
        )
    )
    assert masked(message + whole) == message + whole
    old = encode(PlacedLink(1, "default", 1, 0, f"https://x.example/?token={SECRET}"))
    assert SECRET.encode() not in masked(old)
    torn = encode(Hit("click", 1, "d", 1, "0" * 32, 1, 0, f"https://x.example/?token={SECRET}"))
    assert SECRET.encode() not in masked(torn[:-20] + b"\n")
