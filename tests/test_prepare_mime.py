"""Whole messages on their way out: what is reported, recorded and counted of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import proof
from app.journal import Journal
from app.outgoing import Outgoing, Prepared
from app.schemas import NewsletterIn, TrackingIn
from app.senders import Senders
from app.settings import load, with_secrets
from app.state import open_state

HTML = b'Content-Type: text/html\r\n\r\n<p><a href="https://example.com/a">A</a></p>\r\n'
SIGNED = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s--\r\n"


@pytest.fixture
def outgoing(tmp_path: Path) -> Iterator[Outgoing]:
    chosen = with_secrets(load(data_dir=tmp_path, public_url="https://t.example"))
    yield Senders(chosen, open_state(tmp_path), Journal(tmp_path / "journal")).of("default")


def multipart(*parts: bytes) -> bytes:
    body = b"".join(b"--b\r\n" + part for part in parts)
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"


def prepared(outgoing: Outgoing, message: bytes, text: bool = False) -> Prepared:
    tracking = TrackingIn(text=text)
    return outgoing.prepare_mime(message, NewsletterIn("n"), "a@example.com", tracking)


def test_a_message_that_fails_the_check_has_no_links(
    outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = multipart(HTML, HTML)
    fine = prepared(outgoing, message)
    assert [link.tracked for link in fine.links] == [True, True]
    assert fine.records and not fine.left and outgoing.unproven == 0
    monkeypatch.setattr(proof, "flaw", lambda *_: "is at fault")
    failed = prepared(outgoing, message)
    assert failed.html == message
    assert not failed.links and not failed.records and not failed.draft.carried
    assert failed.left == {"unproven"} and outgoing.unproven == 1
    assert failed.notes[-1] == "the rewritten message is at fault: it was left alone"


def test_places_of_links_go_on_over_parts(outgoing: Outgoing) -> None:
    message = multipart(HTML, SIGNED, HTML.replace(b"/a", b"/b"))
    done = prepared(outgoing, message)
    assert [(link.index, link.url[-2:]) for link in done.links] == [(0, "/a"), (1, "/b")]
    assert done.left == {"sealed"}
    (note,) = done.notes
    assert note == f"byte {message.index(b'--s--')}: multipart/signed was left alone"
