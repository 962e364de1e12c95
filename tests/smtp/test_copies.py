"""What the gateway makes of real messages: signatures stay valid, and only what is ours changes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from tests.support.paths import SHARED
from tests.support.smtp_gateway import LINK, PIXEL, GatewayProcess, gateway, mail, without_trace
from tests.support.smtp_server import Inbox, inbox

MIME = SHARED / "mime"
HTML = '<body><a href="https://example.com/a">A</a></body>'


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    openssl("genrsa", "-out", str(path), "2048")
    return path


@pytest.fixture(scope="module")
def between(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("copies") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{box.port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(box: Inbox) -> None:
    for kept in (box.mails, box.raw, box.envelopes):
        kept.clear()


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def record(key: Path) -> bytes:
    """The key as DNS tells it."""
    pem = openssl("rsa", "-in", str(key), "-pubout").decode()
    return b"v=DKIM1; k=rsa; p=" + "".join(pem.splitlines()[1:-1]).encode()


def verified(message: bytes, key: Path) -> bool:
    answer = record(key)
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: answer))


def signed(message: bytes, key: Path) -> bytes:
    found: bytes = dkim.sign(message, b"sel", b"shop.example", key.read_bytes())
    return found + message


def test_signed_mail_passes_untouched_and_stays_valid(
    between: GatewayProcess, box: Inbox, key: Path
) -> None:
    sent = signed(mail(HTML), key)
    assert between.send(sent) == "250 2.0.0 kept as 1"
    assert without_trace(box.raw[0]) == sent
    assert verified(box.raw[0], key)
    assert between.ledger() == b""


def test_signed_mail_is_refused_by_setting(box: Inbox, key: Path, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_SIGNED="refuse") as running:
        answer = running.send(signed(mail(HTML), key))
        assert answer.startswith("554 5.7.0 DKIM-signed mail is not accepted")
        assert box.raw == []
        assert running.send(mail(HTML)).startswith("250")


def test_the_gateway_signs_what_it_has_rewritten(box: Inbox, key: Path, tmp_path: Path) -> None:
    env = {
        "MAILWAKE_DKIM_KEY": str(key),
        "MAILWAKE_DKIM_DOMAIN": "shop.example",
        "MAILWAKE_DKIM_SELECTOR": "sel",
    }
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}", **env) as running:
        people = ["a@example.com", "b@example.com"]
        assert running.send(mail(HTML), *people).startswith("250")
        assert running.send(mail(HTML, "X-Mailwake-Track: off")).startswith("250")
        assert len(box.raw) == 3
        for raw in box.raw:
            assert raw.count(b"DKIM-Signature:") == 1
            assert verified(raw, key)
            assert not verified(raw.replace(b">A<", b">B<"), key)
        assert [bool(PIXEL.search(raw)) for raw in box.raw] == [True, True, False]
        ours = signed(mail(HTML), key)
        assert running.send(ours).startswith("250")  # never signed twice
        assert box.raw[3].count(b"DKIM-Signature:") == 1
    wrong = {**env, "MAILWAKE_DKIM_KEY": str(Path(__file__))}
    with (
        pytest.raises(AssertionError, match="MAILWAKE_DKIM_KEY"),
        gateway(tmp_path / "data", "smtp://127.0.0.1:1", **wrong),
    ):
        pass


def test_a_mail_that_begins_within_a_field_gets_none_before_it(
    box: Inbox, key: Path, tmp_path: Path
) -> None:
    env = {
        "MAILWAKE_DKIM_KEY": str(key),
        "MAILWAKE_DKIM_DOMAIN": "shop.example",
        "MAILWAKE_DKIM_SELECTOR": "sel",
    }
    sent = b" x: y\r\n" + mail(HTML)
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}", **env) as running:
        asking = b" x: y\r\nX-Mailwake-Unsubscribe: add\r\n" + mail(HTML)
        for given in (sent, asking):
            assert "first header field is indented was left unchanged" in running.send(given)
            assert box.raw[-1] == sent


def test_smime_stays_valid(between: GatewayProcess, box: Inbox, tmp_path: Path) -> None:
    key, cert = str(tmp_path / "k.pem"), str(tmp_path / "c.pem")
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        cert,
        "-days",
        "2",
        "-subj",
        "/CN=news@shop.example",
        "-addext",
        "extendedKeyUsage=emailProtection",
    )
    part = f"Content-Type: text/html\r\n\r\n{HTML}\r\n".encode()
    made = openssl(
        "cms",
        "-sign",
        "-signer",
        cert,
        "-inkey",
        key,
        "-from",
        "news@shop.example",
        "-to",
        "ann@example.com",
        "-subject",
        "x",
        given=part,
    )
    sent = re.sub(rb"\r?\n", b"\r\n", made)
    assert between.send(sent).startswith("250")
    got = box.raw[0]
    assert without_trace(got) == sent
    content = openssl("cms", "-verify", "-CAfile", cert, given=got)
    assert HTML.encode() in content


@pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
def test_pgp_mime_stays_valid(between: GatewayProcess, box: Inbox, tmp_path: Path) -> None:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-gen-key", "news@shop.example", "ed25519", "sign"],
        check=True,
        capture_output=True,
    )
    part = f"Content-Type: text/html\r\n\r\n{HTML}\r\n".encode()
    signature = subprocess.run(
        [*gpg, "--armor", "--detach-sign"], input=part, check=True, capture_output=True
    ).stdout.replace(b"\n", b"\r\n")
    sent = (
        b"From: news@shop.example\r\nTo: ann@example.com\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/signed; micalg=pgp-sha512; boundary="b";\r\n'
        b'\tprotocol="application/pgp-signature"\r\n\r\n--b\r\n' + part + b"\r\n--b\r\n"
        b"Content-Type: application/pgp-signature\r\n\r\n" + signature + b"\r\n--b--\r\n"
    )
    assert between.send(sent).startswith("250")
    got = without_trace(box.raw[0])
    assert got == sent
    parts = got.split(b"\r\n--b")
    (tmp_path / "part").write_bytes(parts[1].removeprefix(b"\r\n"))
    (tmp_path / "sig").write_bytes(parts[2].partition(b"\r\n\r\n")[2])
    check = subprocess.run(
        [*gpg, "--verify", str(tmp_path / "sig"), str(tmp_path / "part")],
        check=False,
        capture_output=True,
    )
    assert check.returncode == 0, check.stderr


def test_what_is_sealed_or_only_partly_tracked_is_counted_and_logged(
    box: Inbox, tmp_path: Path
) -> None:
    head = b"From: news@shop.example\r\nMIME-Version: 1.0\r\n"
    pgp = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhttps://example.com/\r\n"
    smime = b"Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nMIAG\r\n"
    signed_part = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s--\r\n"
    html = f"Content-Type: text/html\r\n\r\n{HTML}\r\n".encode()
    encoded = b"Content-Type: text/html\r\nContent-Transfer-Encoding: x-own\r\n\r\n<p>\r\n"
    mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}") as running:
        for sealed in (b"\r\n" + pgp, smime, signed_part):
            assert running.send(head + sealed) == f"250 2.0.0 kept as {len(box.raw)}"
            assert without_trace(box.raw[-1]) == head + sealed
        plain = (
            b"Content-Type: text/plain; charset=x-never\r\nX-Mailwake-Track: text\r\n\r\nHello\r\n"
        )
        assert running.send(head + plain) == f"250 2.0.0 kept as {len(box.raw)}"
        answer = running.send(head + encoded)
        assert "(not tracked: broken byte" in answer
        assert "unknown transfer encoding 'x-own'" in answer
        partly = head + mixed + html + b"--b\r\n" + signed_part + b"--b--\r\n"
        assert running.send(partly).startswith(f"250 2.0.0 kept as {len(box.raw)} (Mailwake ")
        assert LINK.search(box.raw[-1])
    log = " ".join(running.log.read_text().split())  # it is wrapped
    for count in (
        "'untouched_sealed': 3",
        "'untouched_broken': 1",
        "'untouched_nothing': 1",
        "'tracked': 1",
        "'noted': 1",
    ):
        assert count in log
    assert (
        "a mail was only partly tracked: byte" in log
        and "multipart/signed was left unchanged" in log
    )


@pytest.mark.skipif(not MIME.is_dir(), reason="../shared/mime is not there")
def test_every_message_of_the_corpus_goes_through(between: GatewayProcess, box: Inbox) -> None:
    names = sorted(entry.name for entry in MIME.iterdir() if entry.suffix not in (".md", ".json"))
    assert len(names) > 100
    outcomes = {"tracked": 0, "untouched": 0, "refused": 0}
    for number, name in enumerate(names):
        raw = (MIME / name).read_bytes()
        sent = re.sub(rb"\r\n|(?<!\r)\n", b"\r\n", raw)
        sent += b"" if sent.endswith(b"\r\n") else b"\r\n"
        before = len(box.raw)
        answer = between.send(sent, f"m{number}@corpus.example")
        if not answer.startswith("250"):
            assert re.search(rb"\r(?!\n)|\0", sent), (name, answer)
            assert answer.startswith("554 5.6.0"), (name, answer)
            assert len(box.raw) == before
            outcomes["refused"] += 1
            continue
        got = without_trace(box.raw[-1])
        if got == sent:
            outcomes["untouched"] += 1
            continue
        assert PIXEL.search(got.replace(b"=\r\n", b"")) or b"base64" in got.lower(), name
        head, _, _ = sent.partition(b"\r\n\r\n")
        assert got.startswith(head) or b"quoted-printable" in got, name
        assert b"not tracked: broken" not in answer.encode()
        outcomes["tracked"] += 1
    assert outcomes["tracked"] > 20 and outcomes["untouched"] > 20, outcomes
    assert "could not be rewritten" not in between.log.read_text()


def test_the_corpus_has_signatures_that_stay(between: GatewayProcess, box: Inbox) -> None:
    """Those of the corpus that are signed come out as they went in."""
    if not MIME.is_dir():
        pytest.skip("../shared/mime is not there")
    assert json.loads((MIME / "manifest.json").read_text())
    count = 0
    for path in sorted(MIME.iterdir()):
        sent = re.sub(rb"\r\n|(?<!\r)\n", b"\r\n", path.read_bytes())
        head = sent.partition(b"\r\n\r\n")[0].lower()
        sealed = rb"(?m)^dkim-signature:|^content-type:\s*multipart/(signed|encrypted)"
        if path.suffix in (".md", ".json") or not re.search(sealed, head):
            continue
        if re.search(rb"\r(?!\n)|\0", sent):
            continue
        sent += b"" if sent.endswith(b"\r\n") else b"\r\n"
        assert between.send(sent).startswith("250")
        assert without_trace(box.raw[-1]) == sent, path.name
        count += 1
    assert count >= 5, count


def test_what_was_tracked_before_is_left_alone(between: GatewayProcess, box: Inbox) -> None:
    assert between.send(mail(HTML)).startswith("250")
    once = without_trace(box.raw[0])
    assert len(PIXEL.findall(once)) == len(LINK.findall(once)) == 1
    assert between.send(once).startswith("250")
    assert without_trace(box.raw[1]) == once
