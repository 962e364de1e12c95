"""`mailwake bounce` beside a service: what it reads is counted; nothing else changes anything."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.bounces import Returned, dsn, feedback, reply
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

MAIL = '<a href="https://example.com/a">A</a>'


def bounce(service: Service, mail: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "app", "bounce", *(words or ("-",))],
        env=service.env,
        cwd=ROOT,
        input=mail,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_reports_give_messages_their_state(service: Service, tmp_path: Path) -> None:
    people = {name: f"{name}@{uuid.uuid4().hex}.example" for name in ("dsn", "arf", "away")}
    reports = {}
    for name, recipient in people.items():
        rfc_message_id = f"{uuid.uuid4().hex}@shop.example"
        service.rewrite("piped", MAIL, recipient, rfc_message_id=rfc_message_id)
        reports[name] = Returned(rfc_message_id, recipient)
    done = bounce(service, dsn(reports["dsn"]))
    assert (done.returncode, done.stdout) == (0, b"bounced permanently (5.1.1)\n"), done.stderr
    assert bounce(service, dsn(reports["dsn"])).returncode == 0  # the server sends it again
    assert bounce(service, feedback(reports["arf"], names_recipient=False)).returncode == 0
    file = tmp_path / "reply.eml"
    file.write_bytes(reply(reports["away"]))
    assert bounce(service, b"", str(file)).stdout == b"autoresponded (auto-replied)\n"
    service.wait_for(
        lambda: sum(service.stats("piped")["outcomes"].values()) == 3, "three outcomes"
    )
    counts = service.stats("piped")["outcomes"]
    assert (counts["bounced"], counts["complained"], counts["delivered"]) == (1, 1, 1)
    assert service.rewrite("piped", MAIL, people["dsn"])["suppressed"]
    assert service.rewrite("piped", MAIL, people["arf"])["suppressed"]


def test_other_mail_is_accepted_and_ignored(service: Service) -> None:
    done = bounce(service, b"From: ann@example.com\r\nSubject: Hello\r\n\r\nHow are you?\r\n")
    assert done.returncode == 0 and done.stdout.startswith(b"nothing is reported")


@pytest.mark.parametrize("words", [("/nowhere.eml",), ("-", "--workspace", "nobody")])
def test_what_is_wrong_is_named(service: Service, words: tuple[str, ...]) -> None:
    done = bounce(service, dsn(Returned("a@b", "c@d")), *words)
    assert done.returncode == 2
    assert b"nowhere" in done.stderr or b"workspace" in done.stderr


def test_a_journal_that_cannot_be_written_lets_the_server_try_again(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "journal").write_text("a file where a folder belongs")
    mail = dsn(Returned("a@b", "c@d"))
    done = bounce(service, mail, "-", "--data-dir", str(folder))
    assert done.returncode == 75, done.stderr
