"""`mailwake bounce` beside a service: what it reads is counted; nothing else changes anything."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from app.auth.workspaces import Workspaces
from app.outcomes.return_path import ReturnPaths
from app.settings import load
from app.storage.state_db import open_state
from tests.support.bounces import Returned, dsn, feedback, reply
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

MAIL = '<a href="https://example.com/a">A</a>'


def bounce(
    service: Service, mail: bytes, *words: str, **env: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "app", "bounce", *(words or ("-",))],
        env={**service.env, **env},
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


def test_a_return_path_names_the_message_and_its_workspace(service: Service) -> None:
    domain = {"MAILWAKE_BOUNCE_DOMAIN": "bounces.shop.example"}
    workspace = f"w{uuid.uuid4().hex[:8]}"
    settings = load.with_secrets(load.load(data_dir=service.data_dir))
    workspaces = Workspaces(open_state(service.data_dir), settings)
    workspaces.add(workspace, f"http://{workspace}.example")
    paths = ReturnPaths(domain["MAILWAKE_BOUNCE_DOMAIN"], workspaces)
    people = [f"{name}@{uuid.uuid4().hex}.example" for name in ("alias", "option")]
    ids = [service.rewrite("verp", MAIL, person)["message_id"] for person in people]
    alias, option = (paths.create("default", uuid.UUID(message).hex) for message in ids)
    nameless = dsn(Returned("", "forwarded@elsewhere.example"))
    # As Postfix's local(8) gives it to a command of an alias.
    done = bounce(service, nameless, ORIGINAL_RECIPIENT=alias, RECIPIENT="mailwake@host", **domain)
    assert done.stdout == b"bounced permanently (5.1.1)\n", done.stderr
    words = ("-", "--recipient", option.upper())
    assert bounce(service, nameless, *words, **domain).returncode == 0
    service.wait_for(lambda: service.stats("verp")["outcomes"]["bounced"] == 2, "two bounces")
    forged = ("a" if alias[9] != "a" else "b").join([alias[:9], alias[10:]])
    done = bounce(service, nameless, "-", "--recipient", forged, **domain)
    assert done.returncode == 0 and b"signature of this return path is wrong" in done.stdout
    # Another mailbox, and a service without the setting, are as they were.
    other = ("-", "--recipient", "bounces@shop.example")
    for done in (bounce(service, nameless, *other, **domain), bounce(service, nameless, *words)):
        assert done.stdout.startswith(b"nothing is reported")
    theirs = paths.create(workspace, uuid.UUID(ids[0]).hex)
    done = bounce(service, nameless, "-", "--recipient", theirs, **domain)
    assert done.stdout == b"bounced permanently (5.1.1)\n", done.stderr
    service.drained()
    assert service.stats("verp")["outcomes"]["bounced"] == 2  # not theirs


def test_other_mail_is_accepted_and_ignored(service: Service) -> None:
    done = bounce(service, b"From: ann@example.com\r\nSubject: Hello\r\n\r\nHow are you?\r\n")
    assert done.returncode == 0 and done.stdout.startswith(b"nothing is reported")


@pytest.mark.parametrize(
    ("words", "env", "code", "named"),
    [
        (("/nowhere.eml",), {}, 2, b"nowhere"),
        (("-", "--workspace", "nobody"), {}, 75, b"workspace"),
        (("-",), {"MAILWAKE_PORT": "none"}, 75, b"MAILWAKE_PORT"),
    ],
)
def test_what_is_wrong_is_named(
    service: Service, words: tuple[str, ...], env: dict[str, str], code: int, named: bytes
) -> None:
    """A mail server would return a report as undeliverable if the code were not 75."""
    done = bounce(service, dsn(Returned("a@b", "c@d")), *words, **env)
    assert done.returncode == code and named in done.stderr


def test_a_journal_that_cannot_be_written_lets_the_server_try_again(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "journal").write_text("a file where a folder belongs")
    mail = dsn(Returned("a@b", "c@d"))
    done = bounce(service, mail, "-", "--data-dir", str(folder))
    assert done.returncode == 75, done.stderr
