"""Large mails are rewritten by a process of its own: as others are, whatever becomes of it."""

import asyncio
import os
import re
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from app.server import rewriting_process
from app.server.rewriting_process import LARGE_BYTES, RewritingProcess
from app.settings.load import load
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service, paths, tracked_urls
from tests.support.two_tenants import shell

FILLING = "<p>" + "x" * LARGE_BYTES
REWRITING = rewriting_process.__name__
HTML = f'<body><a href="https://e.example/?a=1&amp;b=2">Shop</a>{FILLING}</body>'
HEAD = (
    "X-Mailwake-Newsletter: mime\r\nTo: ann@example.com\r\nSubject: x\r\n"
    "X-Mailwake-Unsubscribe: add\r\nContent-Type: text/html\r\n\r\n"
)


def process_of(service: Service) -> int:
    """Returns the process for rewriting once it listens; the first large mail starts it."""
    service.rewrite("first", HTML)
    wait_for(lambda: listens(service), "its socket")
    (pid,) = service.children(REWRITING)
    return pid


def listens(service: Service) -> bool:
    for path in sockets(service):
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(path))
            return True
    return False


def sockets(service: Service) -> list[Path]:
    return [*service.data_dir.glob("rewriting-*.sock")]


def journal_of(pid: int) -> list[str]:
    """Returns the journal segments that a process has open."""
    files = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it closes files meanwhile
            files.append(str(path.readlink()))
    return [file for file in files if "/journal/" in file and ".lock" not in file]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("rewriting") / "data") as running:
        running.ready()
        assert not running.children(REWRITING)  # nothing large has come yet
        process_of(running)
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose process for rewriting cannot start, so that it does all by itself."""
    faults = (
        "from app.server import rewriting_process as it\n"
        "start = it.child_process\n"
        "it.child_process = lambda module, *more, **env: start('nothing', *more, **env)\n"
    )
    with Service(tmp_path_factory.mktemp("alone") / "data", faults) as running:
        running.ready()
        yield running


MAIL = {"newsletter": {"id": "n"}, "recipient": "ann@example.com", "html": HTML}
SPACES = " " * LARGE_BYTES
REQUESTS: dict[str, tuple[str, Any]] = {
    "html": ("/v1/rewrite", MAIL),
    "dry run": ("/v1/rewrite?dry_run=1", MAIL),
    "mail": ("/v1/rewrite/mime", HEAD + HTML),
    "mail in parts": ("/v1/rewrite/mime", [HEAD.encode(), HTML.encode(), b"<p>"]),
    "variant": ("/v1/rewrite/mime?variant=A%2FB", HEAD + HTML),
    "template": ("/v1/newsletters/a%2Fb/template", {"html": HTML, "placeholder": "{{token}}"}),
    "no JSON": ("/v1/rewrite", "{" + SPACES),
    "unknown field": ("/v1/rewrite", {**MAIL, "htm": 1}),
    "too large": ("/v1/rewrite", " " * 71_000_000),
    "parameter": ("/v1/rewrite?dry=1", MAIL),
    "no newsletter": ("/v1/rewrite/mime", "To: a@example.com\r\n\r\n" + HTML),
    "dots as id": ("/v1/newsletters/../template", {"html": HTML}),
    "encoded dots": ("/v1/newsletters/%2E%2E/template", {"html": HTML}),
    "no UTF-8 as id": ("/v1/newsletters/%FF/template", {"html": HTML}),
    "odd characters": ("/v1/newsletters/a'|[]{}~/template?variant='%7C", {"html": HTML}),
    "invalid percent": ("/v1/newsletters/a%zz/template?variant=%", {"html": HTML}),
    "empty query": ("/v1/rewrite?", MAIL),
    "unknown domain": (
        "/v1/newsletters/n/template",
        {"html": HTML, "excluded_domains": ["a b"]},
    ),
}


def unsigned(answer: httpx2.Response, service: Service) -> str:
    """Returns an answer without what differs between two of them: tokens, ids and the port."""
    text = re.sub(service.url + r"/([ocu])/[\w./{}-]+", r"/\1/", answer.text)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)


def ask(service: Service, path: str, body: Any) -> httpx2.Response:
    """Send a request whose target is written as it is here."""
    given = {"json": body} if isinstance(body, dict) else {"content": body}
    if isinstance(body, list):
        given = {"content": iter(body)}
    target = {"target": path.encode()}
    asked: Any = service.client.build_request("POST", "/", extensions=target, **given)
    return service.client.send(asked)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_the_same_from_either(service: Service, alone: Service, name: str) -> None:
    theirs, ours = (ask(one, *REQUESTS[name]) for one in (service, alone))
    assert theirs.status_code == ours.status_code
    assert [*theirs.headers] == [*ours.headers]
    changing = ("date", "content-length", "x-mailwake-message-id", "x-mailwake-list-unsubscribe")
    for header in set(ours.headers) - set(changing):
        assert theirs.headers[header] == ours.headers[header], header
    assert unsigned(theirs, service) == unsigned(ours, alone)
    assert sockets(service) and not sockets(alone)


def test_it_records_into_the_same_statistics(service: Service) -> None:
    made = service.rewrite("counted", HTML, "ann@example.com")
    for path in paths(tracked_urls(made["html"])):
        assert service.client.get(path).status_code in (200, 302)
    service.drained()
    stats = service.stats("counted")
    assert stats["messages"] == 1
    assert stats["opens"]["all"]["total"] == stats["clicks"]["all"]["total"] == 1


def test_small_mails_are_not_passed_on(service: Service) -> None:
    (pid,) = service.children(REWRITING)
    os.kill(pid, signal.SIGSTOP)
    try:
        service.rewrite("small", "<body>x")
        assert service.client.get("/healthz").status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)


def test_its_answer_takes_what_has_just_changed(service: Service) -> None:
    """Workspaces, withdrawals, suppressions and templates, as if it were one process."""
    withdrawn = {"recipient": "gone@example.com", "axes": ["opens", "clicks"]}
    assert service.client.post("/v1/consent", json=withdrawn).status_code == 200
    made = service.rewrite("n", HTML, "gone@example.com")
    assert sorted(made["withdrawn"]) == ["clicks", "opens"]
    assert "/o/" not in made["html"]
    service.client.post("/v1/suppressions", json={"recipient": "no@example.com"})
    assert service.rewrite("n", HTML, "no@example.com")["suppressed"] is True
    for word in ("one", "two"):
        template = {"html": HTML.replace("Shop", word)}
        path = "/v1/newsletters/stored"
        assert service.client.post(f"{path}/template", json=template).status_code == 200
        lines = service.client.post(f"{path}/messages", content=b'{"recipient": "r"}\n')
        assert f">{word}</a>" in lines.json()["html"]
    shell(service, "workspaces", "add", "other", "http://other.example")
    key = shell(service, "keys", "add", "k", "--workspace", "other", "--scope", "rewrite")

    def of_other() -> httpx2.Response:
        headers = {"authorization": f"Bearer {key}"}
        return service.client.post("/v1/rewrite", json=MAIL, headers=headers)

    wait_for(lambda: of_other().status_code == 200, "workspace")
    assert "http://other.example/c/" in of_other().json()["html"]


def test_the_key_is_checked_before_anything_is_passed_on(service: Service) -> None:
    reader = shell(service, "keys", "add", "reader", "--scope", "read")
    for key, status in (("wrong", 401), (reader, 403)):
        headers = {"authorization": f"Bearer {key}"}
        answer = service.client.post("/v1/rewrite", json=MAIL, headers=headers)
        assert answer.status_code == status, answer.text
    (path,) = sockets(service)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_does_nothing_else(service: Service) -> None:
    """Above all, it opens no ClickHouse."""
    (path,) = sockets(service)
    with httpx2.Client(
        base_url="http://localhost", transport=httpx2.HTTPTransport(uds=str(path))
    ) as direct:
        for other in ("/", "/v1/newsletters", "/metrics", "/login", "/o/x.gif"):
            assert direct.get(other).status_code == 404, other


def test_a_killed_process_is_replaced_and_loses_nothing(service: Service) -> None:
    made = service.rewrite("killed", HTML)
    (pid,) = service.children(REWRITING)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in service.children(), "its end")  # of all that it has open
    # Meanwhile the service rewrites by itself.
    again = service.rewrite("killed", HTML)
    assert again["message_id"] != made["message_id"]
    service.wait_for(lambda: listens(service), "another process")
    service.rewrite("killed", HTML)
    wait_for(lambda: service.stats("killed")["messages"] == 3, "messages")


def test_a_mail_that_comes_as_the_process_ends_is_rewritten_by_the_service(tmp_path: Path) -> None:
    """Its client is closed then, and a request may have got hold of it before."""

    async def received() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    async def forwarded() -> object:
        process = RewritingProcess(load(data_dir=tmp_path))
        process._client = httpx2.AsyncClient()
        await process._client.aclose()
        length = (b"content-length", str(LARGE_BYTES).encode())
        path = {"raw_path": b"/v1/rewrite", "query_string": b""}
        scope = {"type": "http", "method": "POST", "headers": [length], **path}
        return await process.forward(Request(scope, received), "default")

    assert asyncio.run(forwarded()) is None


def test_a_request_in_the_middle_gets_an_error_that_says_so(service: Service) -> None:
    wait_for(lambda: listens(service), "the process")
    (pid,) = service.children(REWRITING)
    wait_for(lambda: service.rewrite("n", HTML) and journal_of(pid), "a mail that it records")
    started = threading.Event()

    def body() -> Iterator[bytes]:
        yield HEAD.encode()
        for _ in range(290):  # more than all buffers on the way hold
            yield b"x" * 65_536
        started.set()
        wait_for(lambda: pid not in service.children(REWRITING), "the kill")
        yield b"<p>"

    def kill() -> None:
        assert started.wait(PATIENCE_SECONDS)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    answer = service.client.post("/v1/rewrite/mime", content=body())
    thread.join()
    assert answer.status_code == 503
    assert answer.json()["detail"] == "rewriting was interrupted: send the mail again"
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_service_and_its_messages_are_loaded(
    tmp_path: Path, how: signal.Signals
) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        pid = process_of(service)
        os.kill(pid, signal.SIGTERM)  # as a container's stop reaches all processes: it waits
        for _ in range(3):
            service.rewrite("kept", HTML)
        assert service.children(REWRITING) == [pid]
        assert service.process
        service.process.send_signal(how)
        service.process.wait(PATIENCE_SECONDS)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "its end")
        service.start()
        service.drained()
        wait_for(lambda: service.stats("kept")["messages"] == 3, "messages")
        process_of(service)
        assert len(sockets(service)) == 1  # that of the killed one was swept


def test_hits_come_first(service: Service) -> None:
    (pid,) = service.children(REWRITING)
    assert service.process
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(
        os.PRIO_PROCESS, service.process.pid
    )


FLAWED = """
import sys
sys.path.insert(0, {root!r})
from app.rewriting import proof
proof.flaw = lambda *_: "has a flaw"
"""


def test_mails_that_fail_the_check_there_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FLAWED.format(root=str(ROOT)))
    with Service(tmp_path / "data", PYTHONPATH=str(tmp_path)) as service:
        service.ready()
        pid = process_of(service)
        wait_for(
            lambda: (
                service.client.post("/v1/rewrite/mime", content=HEAD + HTML) and journal_of(pid)
            ),
            "a mail that it records",
        )
        before = unproven(service)
        with ThreadPoolExecutor(4) as threads:  # at the same time: each is counted once
            asking = [
                threads.submit(service.client.post, "/v1/rewrite/mime", content=HEAD + HTML)
                for _ in range(12)
            ]
        for answer in (one.result() for one in asking):
            assert "has a flaw" in answer.headers["x-mailwake-notes"]
            assert "mailwake-unproven" not in answer.headers
        assert unproven(service) == before + 12


NO_SOCKETS = """
import sys
sys.path.insert(0, {root!r})
from app import local_socket
listen = local_socket.listen
local_socket.listen = lambda folder, name="": listen(folder) if not name else None
"""


def test_without_unix_sockets_the_service_does_it_all(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_SOCKETS.format(root=str(ROOT)))
    with Service(tmp_path / "data", PYTHONPATH=str(tmp_path)) as service:
        service.ready()
        service.rewrite("n", HTML)

        def ended() -> bool:
            tasks = service.client.get("/healthz/full").json()["tasks"]
            return any(task["name"] == "rewriting" and task["state"] == "ended" for task in tasks)

        service.wait_for(ended, "the end of the task")
        service.rewrite("n", HTML)
        service.ready()  # nothing is failing
        assert "large mails delay hits" in service.log.read_text()


def unproven(service: Service) -> float:
    text = service.client.get("/metrics").text
    return float(text.partition("\nmailwake_unproven_total ")[2].partition("\n")[0])
