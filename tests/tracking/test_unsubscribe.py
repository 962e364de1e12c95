import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.responses import Response

from app.model.records import Hit, Record, decode
from app.model.tracking_modes import SHARED, Modes
from app.storage.journal import Journal
from app.storage.journal_segments import sealed, without_footer
from app.tracking.tokens import MessageToken, Tokens
from app.tracking.unsubscribe import Unsubscribe
from app.web.views.templating import templates
from tests.support.requests import request

TOKENS = Tokens(["a signing key of these tests, of no use elsewhere"])
MESSAGE = MessageToken(bytes(range(16)), 2**64 - 1, 7)


FORM = {"content-type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"
PARTS = (
    b'--x\r\ncontent-disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
)


def ask(
    folder: Path,
    token: str,
    method: str = "GET",
    times: int = 1,
    agent: str = "",
    body: bytes = ONE_CLICK,
    form: Mapping[str, str] = FORM,
) -> tuple[Response, list[Record]]:
    """The last answer, and what the journal holds."""

    headers = {"user-agent": agent, **form}

    async def main() -> tuple[Response, list[Record]]:
        journal = Journal(folder)
        page = Unsubscribe(lambda _: TOKENS, journal, templates(), lambda address: f"<{address}>")
        for _ in range(times):
            answer = await page.endpoint(
                request(
                    f"/u/{token}",
                    method=method,
                    body=[body[:9], body[9:]],
                    params={"token": token},
                    headers=headers,
                )
            )
        await journal.close()
        contents = [without_footer(path.read_bytes())[0] for path in sealed(folder)]
        return answer, [decode(line) for content in contents for line in content.splitlines()]

    return asyncio.run(main())


def test_a_visit_shows_a_button_and_records_nothing(tmp_path: Path) -> None:
    """Scanners follow every link (RFC 8058, section 3.1)."""
    for method in ("GET", "HEAD"):
        answer, hits = ask(tmp_path, TOKENS.unsubscribe(MESSAGE), method)
        assert (answer.status_code, hits) == (200, [])
        assert b'<form method="post">' in answer.body and b"List-Unsubscribe" in answer.body


def test_a_post_unsubscribes_and_says_so(tmp_path: Path) -> None:
    token = TOKENS.unsubscribe(MESSAGE)
    answer, hits = ask(tmp_path, token, "POST", agent="x" * 600)
    assert answer.status_code == 200 and b"<form" not in answer.body
    (hit,) = hits
    assert isinstance(hit, Hit)
    assert (hit.kind, hit.method) == ("unsubscribe", "POST")
    assert (hit.message, hit.newsletter, hit.recipient) == (MESSAGE.message.hex(), 2**64 - 1, 7)
    assert (hit.address, hit.user_agent) == ("<192.0.2.7>", "x" * 512)


def test_each_post_is_recorded_and_answered_alike(tmp_path: Path) -> None:
    answer, hits = ask(tmp_path, TOKENS.unsubscribe(MESSAGE), "POST", times=2)
    assert answer.status_code == 200 and len(hits) == 2


@pytest.mark.parametrize(
    "flags", [SHARED, Modes("pseudonymous", "pseudonymous").flags, Modes("off", "off").flags]
)
def test_without_personal_hits_the_visitor_is_not_kept(tmp_path: Path, flags: int) -> None:
    token = TOKENS.unsubscribe(MESSAGE._replace(flags=flags))
    _, (hit,) = ask(tmp_path, token, "POST", agent="Mail/1")
    assert isinstance(hit, Hit)
    assert (hit.recipient, hit.address, hit.user_agent) == (7, "", "")


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (ONE_CLICK, FORM),
        (ONE_CLICK, {}),
        (b"x=y&" + ONE_CLICK, FORM),
        (PARTS, {"content-type": "multipart/form-data; boundary=x"}),
        (PARTS, {"content-type": "Multipart/Form-Data; boundary=x; charset=utf-8"}),
    ],
    ids=["urlencoded", "untyped", "with another field", "multipart", "multipart with charset"],
)
def test_both_forms_of_rfc_8058_unsubscribe(
    tmp_path: Path, body: bytes, form: dict[str, str]
) -> None:
    answer, hits = ask(tmp_path, TOKENS.unsubscribe(MESSAGE), "POST", body=body, form=form)
    assert answer.status_code == 200 and len(hits) == 1


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", FORM),
        (b"List-Unsubscribe=", FORM),
        (b"list-unsubscribe=One-Click", FORM),
        (b"{}", {"content-type": "application/json"}),
        (ONE_CLICK + b"&" * 5_000, FORM),
        (PARTS.replace(b"One-Click", b"no"), {"content-type": "multipart/form-data; boundary=x"}),
        (PARTS, {"content-type": "multipart/form-data"}),
        (b"\xff\x00", {"content-type": "multipart/form-data; boundary=\xff"}),
    ],
    ids=["nothing", "no value", "wrong case", "JSON", "too long", "no", "no boundary", "garbage"],
)
def test_any_other_post_shows_the_button(tmp_path: Path, body: bytes, form: dict[str, str]) -> None:
    answer, hits = ask(tmp_path, TOKENS.unsubscribe(MESSAGE), "POST", body=body, form=form)
    assert (answer.status_code, hits) == (400, [])
    assert b'<form method="post">' in answer.body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_damaged_token_is_no_recipients(tmp_path: Path, method: str) -> None:
    token = TOKENS.unsubscribe(MESSAGE)
    for wrong in ("", "x", token[:-1], TOKENS.message(MESSAGE)):
        answer, hits = ask(tmp_path, wrong, method)
        assert (answer.status_code, hits) == (404, [])
        assert b"damaged" in answer.body


def test_no_answer_is_kept_or_referred_to(tmp_path: Path) -> None:
    for token in (TOKENS.unsubscribe(MESSAGE), "x"):
        answer, _ = ask(tmp_path, token)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
