import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message

from app.auth.api_keys import Key
from app.experiments.variants import VariantError
from app.model.errors import FieldError, NotFoundError
from app.rewriting.html_scanner import RewriteError
from app.schemas.fields import Recipient
from app.threads import INLINE_BYTES
from app.web import requests
from app.web.errors import RequestError
from tests.support.requests import request


def refused(work: Callable[[], Any]) -> tuple[int, str]:
    """Status and field of the error."""
    with pytest.raises(RequestError) as caught:
        work()
    return caught.value.status, caught.value.field


class Keys:
    """Of three secrets, as app.auth.api_keys finds them."""

    async def found(self, secret: str) -> Key | None:
        scopes = {"reader": ("read",), "admin": ("admin",), "gone": ("read",)}.get(secret)
        if scopes is None:
            return None
        workspace = "gone" if secret == "gone" else "default"
        return Key("key_1", workspace, secret, frozenset(scopes))


STATE = SimpleNamespace(keys=Keys(), parts={"default": "its parts"})


@pytest.mark.parametrize(
    ("header", "scope", "status"),
    [
        (None, "read", 401),
        ("", "read", 401),
        ("Bearer", "read", 401),
        ("Bearer unknown", "read", 401),
        ("Basic reader", "read", 401),
        ("reader", "read", 401),
        ("Bearer reader", "admin", 403),
        ("Bearer gone", "read", 503),  # a workspace that this process does not know yet
        ("Bearer reader", "read", 200),
        ("bearer  reader ", "read", 200),
        ("Bearer admin", "admin", 200),
    ],
)
def test_a_key_opens_its_workspace_for_its_scopes(
    header: str | None, scope: Any, status: int
) -> None:
    asked = request(state=STATE, headers={} if header is None else {"authorization": header})
    if status == 200:
        parts: Any = asyncio.run(requests.authorized(asked, scope))
        assert parts == "its parts"
    else:
        assert refused(lambda: asyncio.run(requests.authorized(asked, scope))) == (status, "")


def test_ids_in_paths_are_percent_encoded_utf_8() -> None:
    asked = request(params={"newsletter_id": "a%2Fb%C3%A9", "recipient": "a%2Bb@x.example"})
    assert requests.path_parameter(asked, "newsletter_id") == "a/bé"
    assert requests.path_parameter(asked, "recipient", Recipient) == "a+b@x.example"
    with pytest.raises(NotFoundError) as caught:
        requests.path_parameter(request(params={"newsletter_id": "%FF"}), "newsletter_id")
    assert caught.value.field == "newsletter_id"
    with pytest.raises(FieldError) as refused:
        requests.path_parameter(request(params={"recipient": "x" * 600}), "recipient", Recipient)
    assert refused.value.field == "recipient"


def test_a_body_is_read_up_to_its_limit() -> None:
    def body(limit: int, *pieces: bytes, length: str = "") -> bytes:
        return asyncio.run(
            requests.body_of(request(body=pieces, headers={"content-length": length}), limit)
        )

    assert body(4, b"ab", b"cd") == b"abcd"
    assert body(0, b"") == b""
    assert refused(lambda: body(3, b"ab", b"cd")) == (413, "")
    # Refused by what it announces, before a byte of it is read.
    assert refused(lambda: body(3, length="4")) == (413, "")


def test_no_more_is_read_than_the_limit_and_one_piece() -> None:
    asked = request(body=[b"x" * 10] * 100)
    with pytest.raises(RequestError):
        asyncio.run(requests.body_of(asked, 15))

    async def receive() -> Message:
        return await asked.receive()

    left = asyncio.run(receive())
    assert left["more_body"] and left["body"] == b"x" * 10


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: dict[str, int] = {}


def decoded(body: bytes, empty: bytes = b"") -> Shape:
    return asyncio.run(requests.decoded(request(body=[body]), Shape, 1000, empty))


def test_a_body_of_the_shape_is_taken() -> None:
    assert decoded(b'{"name":"n"}') == Shape("n")
    assert decoded(b"", b'{"name":"n"}') == Shape("n")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, ""),
        (b"{", 400, ""),
        (b'{"name":"\xff"}', 400, ""),
        (b"[]", 422, "body"),
        (b"{}", 422, "body"),
        (b'{"name":1}', 422, "name"),
        (b'{"name":"n","inner":{"a":"b"}}', 422, "inner[...]"),
    ],
)
def test_a_wrong_body_is_named(body: bytes, status: int, field: str) -> None:
    assert refused(lambda: decoded(body)) == (status, field)


@pytest.mark.parametrize("size", [0, INLINE_BYTES + 1])
def test_what_a_mail_cannot_be_is_the_requests_fault(size: int) -> None:
    def raises(error: Exception) -> None:
        raise error

    def run(error: Exception) -> None:
        asyncio.run(requests.offloaded(size, raises, error))

    assert refused(lambda: run(RewriteError("why"))) == (422, "html")
    assert refused(lambda: run(VariantError("why"))) == (422, "variant")
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
    assert asyncio.run(requests.offloaded(size, int, "11", base=2)) == 3


def test_a_stream_fails_before_the_answer_begins() -> None:
    def broken() -> Iterator[bytes]:
        yield from ()
        raise ZeroDivisionError

    async def read(parts: Iterator[bytes]) -> list[object]:
        answer = await requests.streamed(parts, "text/csv")
        assert isinstance(answer, StreamingResponse)
        return [part async for part in answer.body_iterator]

    assert asyncio.run(read(iter([b"a", b"b"]))) == [b"a", b"b"]
    assert asyncio.run(read(iter([]))) == [b""]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(requests.streamed(broken(), "text/csv"))


def test_an_answer_is_json() -> None:
    answer = requests.json(Shape("é"))
    assert answer.body == '{"name":"é","inner":{}}'.encode()
    assert answer.media_type == "application/json"
