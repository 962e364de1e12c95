"""A hit has each value of its request in the field of that name."""

import time

import pytest

from app.tracking.hit_from_request import hit
from app.tracking.tokens import LinkToken, MessageToken


def test_every_field_has_its_own_value() -> None:
    token = MessageToken(bytes(range(16)), 101, 102, 0, 7, "acme")
    target = LinkToken(101, 5, "https://example.com/x", 103, 104, 1)
    headers = {
        b"user-agent": b"Agent" * 200,
        b"sec-purpose": b"prefetch",
        b"sec-fetch-mode": b"navigate",
    }
    before = time.time() * 1000
    found = hit("HEAD", headers, "192.0.2.1", "click", token, target)
    assert before - 1 <= found.at <= time.time() * 1000 + 1
    values = {name: getattr(found, name) for name in found.__struct_fields__ if name != "at"}
    assert values == {
        "kind": "click",
        "workspace": "acme",
        "newsletter": 101,
        "message": bytes(range(16)).hex(),
        "recipient": 102,
        "position": 5,
        "url": "https://example.com/x",
        "variant": 7,
        "method": "HEAD",
        "address": "192.0.2.1",
        "user_agent": ("Agent" * 200)[:512],
        "purpose": "prefetch",
        "fetch_mode": "navigate",
        "mode": 0,
        "link": 103,
        "detail": 104,
        "flags": 1,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"sec-purpose", b"prefetch;prerender"),
        (b"purpose", b"prefetch"),
        (b"x-moz", b"prefetch"),
        (b"x-purpose", b"preview"),
        (b"signature-agent", b'"https://assistant.example"'),
    ],
)
def test_each_header_of_a_purpose_is_read(name: bytes, value: bytes) -> None:
    token = MessageToken(bytes(16), 101, 102, 0, 0, "acme")
    target = LinkToken(101, 0, "https://example.com/", 0, 0, 0)
    assert hit("GET", {name: value}, "", "click", token, target).purpose == value.decode()
