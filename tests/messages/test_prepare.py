"""Whole messages on their way out: what is reported, recorded and counted of them."""

import asyncio
import base64
import quopri
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.messages.prepare import MessagePreparer, PreparedMessage
from app.messages.preparer_registry import PreparerRegistry
from app.model.records import Message, decode
from app.rewriting import mime, proof, transfer_encodings
from app.schemas.messages import NewsletterIn, RewriteIn, TrackingIn
from app.settings.load import load, with_secrets
from app.storage.journal import Journal
from app.storage.state_db import open_state

HTML = b'Content-Type: text/html\r\n\r\n<p><a href="https://example.com/a">A</a></p>\r\n'
SIGNED = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s--\r\n"


@pytest.fixture
def outgoing(tmp_path: Path) -> Iterator[MessagePreparer]:
    chosen = with_secrets(load(data_dir=tmp_path, public_url="https://t.example"))
    yield PreparerRegistry(chosen, open_state(tmp_path), Journal(tmp_path / "journal")).of(
        "default"
    )


def multipart(*parts: bytes) -> bytes:
    body = b"".join(b"--b\r\n" + part for part in parts)
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"


def prepared(outgoing: MessagePreparer, message: bytes, text: bool = False) -> PreparedMessage:
    tracking = TrackingIn(text=text)
    return outgoing.prepare_mime(message, NewsletterIn("n"), "a@example.com", tracking)


def test_a_message_that_fails_the_check_has_no_links(
    outgoing: MessagePreparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = multipart(HTML, HTML)
    fine = prepared(outgoing, message)
    assert [link.tracked for link in fine.links] == [True, True]
    assert fine.records and not fine.unchanged_reasons and outgoing.unproven == 0
    monkeypatch.setattr(proof, "flaw", lambda *_: "is at fault")
    failed = prepared(outgoing, message)
    assert failed.html == message
    assert not failed.links and not failed.records and not failed.draft.carried
    assert failed.unchanged_reasons == {"unproven"} and outgoing.unproven == 1
    assert failed.notes[-1] == "the rewritten message is at fault: the message was left unchanged"


def test_places_of_links_go_on_over_parts(outgoing: MessagePreparer) -> None:
    message = multipart(HTML, SIGNED, HTML.replace(b"/a", b"/b"))
    done = prepared(outgoing, message)
    assert [(link.index, link.url[-2:]) for link in done.links] == [(0, "/a"), (1, "/b")]
    assert done.unchanged_reasons == {"sealed"}
    (note,) = done.notes
    assert note == f"byte {message.index(b'--s--')}: multipart/signed was left unchanged"


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("delsp", ["yes", "no"])
def test_urls_over_flowed_lines_are_read_joined_or_left_alone(
    outgoing: MessagePreparer, encoding: str, delsp: str
) -> None:
    """RFC 3676, section 4.3: with delsp a URL goes on in the next line."""
    lines = (
        b"See https://example.com/a/very/ \r\nlong/path?x=1 and more\r\nor https://x.example/\r\n"
    )
    encode = {"quoted-printable": quopri.encodestring, "base64": base64.encodebytes}
    head = f"Content-Type: text/plain; format=flowed; delsp={delsp}\r\n".encode()
    head += f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    message = head + encode.get(encoding, bytes)(lines)
    done = prepared(outgoing, message, text=True)
    assert not done.unchanged_reasons
    (leaf,) = mime.leaves(done.html)
    raw = done.html[leaf.start : leaf.end]
    content = transfer_encodings.body(leaf.encoding, raw, leaf.ending).decoded
    tracked = {link.url for link in done.links if link.tracked}
    whole = "https://example.com/a/very/long/path?x=1"
    if delsp == "yes":
        assert tracked <= {whole, "https://x.example/"}
        assert whole in tracked or (done.notes and b"a/very/ \r\nlong/path?x=1 and" in content)
    else:
        assert tracked == {"https://example.com/a/very/", "https://x.example/"}
    assert b"https://x.example/" not in content and b" and more\r\nor https://t.example/" in content


def test_text_in_any_charset_is_tracked(outgoing: MessagePreparer) -> None:
    for charset, codec in (("iso-8859-1", "cp1252"), ("shift_jis", "cp932"), ("utf-16", "utf-16")):
        text = "\u00fc" if charset == "iso-8859-1" else "\u3042"
        body = f"{text} https://example.com/ {text}\r\n".encode(codec)
        head = f"Content-Type: text/plain; charset={charset}\r\n"
        head += "Content-Transfer-Encoding: base64\r\n\r\n"
        done = prepared(outgoing, head.encode() + base64.encodebytes(body), text=True)
        assert [link.url for link in done.links if link.tracked] == ["https://example.com/"]
        (leaf,) = mime.leaves(done.html)
        content = transfer_encodings.body(
            "base64", done.html[leaf.start :], b"\r\n"
        ).decoded.decode(codec)
        assert content.startswith(f"{text} https://t.example/c/")
        assert content.endswith(f" {text}\r\n")


@pytest.mark.parametrize(
    ("paths", "links"),
    [(("a", "b", "a"), 2), (("p/1?utm_source=x", "p/2", "p/3"), 3), (("a",), 1), ((), 0)],
)
def test_the_ledger_has_the_number_of_links(
    outgoing: MessagePreparer, paths: tuple[str, ...], links: int, tmp_path: Path
) -> None:
    """Of their URLs: three products that are counted as one family are three links."""
    body = "".join(f'<a href="https://example.com/{path}">x</a>' for path in paths)
    families = NewsletterIn("n", link_families=("example.com/p/*",))
    request = RewriteIn(families, "a@example.com", body)
    done = outgoing.prepare(request, body.encode())
    assert done.draft.links == links
    asyncio.run(outgoing.record(done))
    (segment,) = (tmp_path / "journal").glob("*.open")
    records = [decode(line) for line in segment.read_bytes().splitlines()]
    assert [record.links for record in records if isinstance(record, Message)] == [links]
