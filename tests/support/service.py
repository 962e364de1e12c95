"""Runs the real service in a process of its own, for tests: start it, talk to it, kill it."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from app.server.engine_process import MODULE as ENGINE
from tests.support.empty_database import copy_empty_database
from tests.support.forked import Forked
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
URLS = re.compile(r"http://127\.0\.0\.1:\d+/[oc]/[A-Za-z0-9_./-]+")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Lets users' webhooks reach this machine: to the service, its IP addresses are public.
LOCAL_RECEIVERS = """
from app.events import safe_http
safe_http.NOT_PUBLIC = tuple(n for n in safe_http.NOT_PUBLIC if str(n) != "127.0.0.0/8")
"""
WITH_HTTP = {"MAILWAKE_WEBHOOK_HTTP": "1"}


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it has ended
        return []


class Service:
    """`mailwake serve` on a loopback port over one data folder, by the program in `root`.

    `faults` is Python that the process runs first. A folder that does not exist yet gets an empty
    database.
    """

    root = ROOT
    creates_database = False

    def __init__(self, data_dir: Path, faults: str = "", **env: str) -> None:
        self.faults = faults
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key, self.password = f"mw_{secrets.token_hex(12)}", secrets.token_hex(12)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")},
            "MAILWAKE_DATA_DIR": str(data_dir),
            "MAILWAKE_PORT": str(self.port),
            "MAILWAKE_API_KEYS": self.api_key,
            "MAILWAKE_DASHBOARD_PASSWORD": self.password,
            "COLUMNS": "300",
            **env,
        }
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.log = data_dir.parent / f"{data_dir.name}.log"
        # Plain HTTP: certificates would only take 20 ms to read. A connection is given up before
        # uvicorn may close it under a request, which is after five seconds.
        self.client = httpx2.Client(
            base_url=self.url,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=False,
            limits=httpx2.Limits(keepalive_expiry=2),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.client.close()

    def start(self) -> None:
        embedded = "MAILWAKE_CLICKHOUSE_DSN" not in self.env
        if embedded and not self.creates_database and not self.data_dir.exists():
            copy_empty_database(self.data_dir)
        self.process = self._forked() if self._may_be_forked() else self._started()
        self.wait_for(self._healthy, "health")
        self.client.headers["authorization"] = f"Bearer {self.api_key}"

    def _may_be_forked(self) -> bool:
        """Returns whether a forked process would be the same as one that is started."""
        settings_only = all(
            name.startswith("MAILWAKE_") or name == "COLUMNS" or os.environ.get(name) == value
            for name, value in self.env.items()
        )
        # Other faults may be in names that modules have imported from each other by then.
        faults = self.faults not in ("", LOCAL_RECEIVERS)
        workers = "MAILWAKE_WORKERS" in self.env  # they are started by the service
        as_by_users = self.creates_database or self.root != ROOT
        return settings_only and not (faults or workers or as_by_users)

    def _forked(self) -> Forked:
        return Forked("serve", env=self.env, log=self.log, faults=self.faults)

    def _started(self) -> "subprocess.Popen[bytes]":
        started = f"{self.faults}\nfrom app.__main__ import main\nmain()"
        program = ("-c", started) if self.faults else ("-m", "app")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *program, "serve"],
                env=self.env,
                cwd=self.root,
                stdout=log,
                stderr=log,
            )

    def _healthy(self) -> bool:
        assert self.process and self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def login(
        self, visitor: httpx2.Client, name: str = "admin", password: str = "", onward: str = "/"
    ) -> httpx2.Response:
        """Fill in the login form as a browser would and return the answer."""
        form = visitor.get("/login").text
        return self.post(
            visitor,
            "/login",
            form,
            params={"next": onward},
            name=name,
            password=password or self.password,
        )

    def enter(self, visitor: httpx2.Client, link: str) -> httpx2.Response:
        """Press the button on a login link's page and return the answer."""
        shown = visitor.get(link).text
        code = re.search(r'name="code" value="([^"]+)"', shown)
        assert code, shown
        return self.post(visitor, "/login", shown, params={"next": "/account"}, code=code[1])

    def post(
        self, visitor: httpx2.Client, path: str, page: str, params: Any = None, **fields: Any
    ) -> httpx2.Response:
        """Send a form of a page that was loaded before, with its token."""
        token = re.search(r'name="csrf" value="(\w+)"', page)
        assert token, page
        return visitor.post(path, params=params, data={"csrf": token[1], **fields})

    def kill(self) -> None:
        """Send SIGKILL."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def children(self, module: str = "") -> list[int]:
        """Returns the processes that the service has started, of one module if it is named."""
        assert self.process
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(child) for task in tasks for child in task.read_text().split()]
        return [pid for pid in pids if not module or module in _command(pid)]

    def engine(self) -> int:
        """Returns the process that has the embedded engine open, as soon as there is one."""
        self.wait_for(lambda: len(self.children(ENGINE)) == 1, "the engine's process")
        return self.children(ENGINE)[0]

    def cpu_seconds(self) -> float:
        """Returns the CPU time of the service and its processes."""
        assert self.process
        total = 0
        for pid in (self.process.pid, *self.children()):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(stat[11]) + int(stat[12])
        return total / TICKS

    def wait_for(
        self, condition: Callable[..., object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Poll until the condition holds; the log is shown where it never does."""
        wait_for(condition, what, self.log.read_text, seconds)

    def ready(self) -> None:
        """Wait until the tables exist."""
        self.wait_for(lambda: self.client.get("/healthz/full").status_code == 200, "ready")

    def rewrite(
        self,
        newsletter: str | dict[str, Any],
        html: str,
        recipient: str = "a@example.com",
        **more: Any,
    ) -> dict[str, Any]:
        named = {"id": newsletter} if isinstance(newsletter, str) else newsletter
        body = {"newsletter": named, "recipient": recipient, "html": html, **more}
        answer = self.client.post("/v1/rewrite", json=body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def stats(self, newsletter: str) -> dict[str, Any]:
        return self.get(f"/v1/newsletters/{quote(newsletter, safe='')}/stats")

    def drained(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every line of the journal has reached ClickHouse."""

        def empty() -> bool:
            state = self.client.get("/healthz/full").json()
            return bool(state["healthy"] and state["journal"]["bytes"] == 0)

        self.wait_for(empty, "empty journal", seconds)

    def settled(self) -> None:
        """Wait until the corrections of everything that was loaded are done, too."""
        self.drained()
        journal, waiting = self.data_dir / "journal", (".done", ".fix")
        self.wait_for(
            lambda: not any(path.suffix in waiting for path in journal.iterdir()), "corrections"
        )


class FirstStart(Service):
    """A service that is started as users start it, and creates its database itself."""

    creates_database = True


def tracked_urls(html: str) -> list[str]:
    return URLS.findall(html)


def paths(urls: Iterable[str]) -> list[str]:
    return [urlsplit(url).path for url in urls]
