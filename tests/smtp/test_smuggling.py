"""No mail becomes two on its way through the gateway, whatever it holds and whatever the rewriter
does: the smarthost here takes a lone line feed for the end of a line (RFC 5321, section 2.3.8).
"""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.rewriting import smtp_lines
from app.settings.load import load
from app.smtp.upstream import SmarthostConnection
from tests.support.hostile_smarthost import Hostile, hostile
from tests.support.smtp_gateway import GatewayProcess, gateway, mail, without_trace
from tests.support.smtp_server import inbox

SMUGGLED = (
    b"From: news@shop.example\r\nSubject: x\r\nContent-Type: text/html; charset=utf-8\r\n"
    b'Content-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D"https://x.example/a">a</a>%s'
    b"MAIL FROM:<boss@shop.example>=0D=0ARCPT TO:<ann@mail.example>=0D=0ADATA=0D=0ASubject: second"
    b"=0D=0A=0D=0Amail=0D=0A.=0D=0A\r\n"
)
ENDS = [b"".join(end) for end in itertools.product([b"=0A", b"=0D", b"=0D=0A"], repeat=2)]


@pytest.fixture(scope="module")
def lenient() -> Iterator[Hostile]:
    with hostile() as found:
        yield found


@pytest.fixture(scope="module")
def between(lenient: Hostile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("smuggling") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{lenient.port}") as running:
        yield running


@pytest.mark.parametrize("ends", ENDS)
def test_an_encoded_end_of_data_ends_nothing(
    between: GatewayProcess, lenient: Hostile, ends: bytes
) -> None:
    first, second = (ends[:3], ends[3:]) if len(ends) == 6 else (ends[:6], ends[6:])
    sent = SMUGGLED % (first + b"." + second)
    before = len(lenient.accepted)
    assert between.send(sent).startswith("250")
    (got,) = lenient.accepted[before:]
    assert b"http://click.example/c/" in got.replace(b"=\r\n", b"")
    assert first + b"." + second in got.replace(b"=\r\n", b"")
    assert smtp_lines.refusal(got) == ""


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(
            [b"=0A", b"=0D", b".", b"=\r\n", b"\r\n", b"=2E", b"=00", b"MAIL ", b"=20"]
        ),
        max_size=30,
    )
)
def test_one_mail_stays_one_mail(
    between: GatewayProcess, lenient: Hostile, pieces: list[bytes]
) -> None:
    sent = SMUGGLED % b"".join(pieces)
    before = len(lenient.accepted)
    assert between.send(sent).startswith("250")
    assert len(lenient.accepted) == before + 1
    assert smtp_lines.refusal(lenient.accepted[-1]) == ""


def test_the_shared_case(between: GatewayProcess, lenient: Hostile, shared: Path) -> None:
    sent = (shared / "cases" / "rewriter" / "02-qp-encoded-end-of-data.eml").read_bytes()
    before = len(lenient.accepted)
    assert between.send(sent).startswith("250")
    (got,) = lenient.accepted[before:]
    assert b"http://click.example/c/" in got.replace(b"=\r\n", b"")
    assert smtp_lines.refusal(got) == ""


# Each makes the rewriter return something that must not go out.
FAULTS = {
    "the encoder leaves controls raw": (
        "from app.rewriting import transfer_encodings as transfer\n"
        "transfer._wrapped = lambda text, _: "
        "text.replace(b'=0A', b'\\n').replace(b'=0D', b'\\r')"
    ),
    "the rewriter returns anything": (
        "from app.rewriting import mime; mime.rewrite = lambda message, *_: mime.Rewritten("
        "message + b'\\n.\\r\\nMAIL FROM:<evil@x.example>\\r\\n', (), [], frozenset())"
    ),
    "the rewriter returns NUL": (
        "from app.rewriting import mime; mime.rewrite = lambda message, *_: mime.Rewritten("
        "message + b'\\0\\r\\n', (), [], frozenset())"
    ),
    "the rewriter returns a line without end": (
        "from app.rewriting import mime; mime.rewrite = lambda message, *_: mime.Rewritten("
        "message + b'x' * 200_000 + b'\\r\\n', (), [], frozenset())"
    ),
    "the rewriter goes round in circles": (
        "from app.rewriting import mime; mime.rewrite = lambda message, *_: mime.Rewritten("
        "b'Received: x\\r\\n' * 51 + message, (), [], frozenset())"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_rewriter_sends_the_original(fault: str, tmp_path: Path) -> None:
    with hostile() as there:
        smarthost = f"smtp://127.0.0.1:{there.port}"
        with gateway(tmp_path / "data", smarthost, FAULTS[fault]) as running:
            sent = SMUGGLED % b"=0A.=0D=0A"
            for people in (("ann@x.example",), ("ann@x.example", "bob@x.example")):
                answer = running.send(sent, *people)
                assert "(not tracked: unproven" in answer and answer.startswith("250"), answer
            assert [without_trace(got) for got in there.accepted] == [sent] * 3
            assert running.ledger() == b""
        log = running.log.read_text()
        assert "a mail was sent untracked: unproven" in log
        assert "'untouched_unproven': 3" in log


def test_what_would_be_refused_is_never_sent() -> None:
    """The last guard, at the connection itself."""
    with inbox() as box:
        configured = load(smarthost=f"smtp://127.0.0.1:{box.port}")

        async def send(content: bytes) -> str:
            upstream = SmarthostConnection(configured)
            await upstream.mail("a@b.example", ())
            await upstream.rcpt("c@d.example")
            answer = await upstream.data(content)
            again = await upstream.mail("a@b.example", ())  # the connection is still good
            await upstream.quit()
            return f"{answer} / {again.code}"

        for content, says in (
            (b"a\n.\r\nb\r\n", "554 5.6.0 a bare LF at byte 1: lines end with CR LF / 250"),
            (b"a\r.\r\nb\r\n", "554 5.6.0 a bare CR at byte 1: lines end with CR LF / 250"),
            (b"a\0\r\n", "554 5.6.0 NUL at byte 1: lines end with CR LF / 250"),
            (b"a" * 100_001 + b"\r\n", "500 5.5.2 a line is longer than 100000 bytes / 250"),
        ):
            assert asyncio.run(send(content)) == says
        assert box.raw == []
        assert asyncio.run(send(mail())).startswith("250")
        assert box.raw == [mail()]
