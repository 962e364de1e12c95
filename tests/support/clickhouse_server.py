"""Runs a ClickHouse server for tests: tests.support.standin as a process, with faults."""

import json
import signal
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec

from app.storage.engine.statements import StatementKind
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.standin.engine import Executed
from tests.support.standin.faults import FaultKind


class ClickHouseServer:
    """A server as a context manager; `dsn` is ready once it has started."""

    def __init__(self, path: Path, user: str = "default", password: str = "") -> None:
        self.path = path
        self.user = user
        self.password = password
        self.port = 0  # chosen at the first start, kept for later ones
        self._control = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        user, password = (quote(part, safe="") for part in (self.user, self.password))
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/default"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or start again on the same data and port with an empty log and no fault."""
        options = {
            "path": self.path,
            "user": self.user,
            "password": self.password,
            "port": self.port,
            "control-port": self._control,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.standin"]
            + [f"--{name}={value}" for name, value in options.items()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the ClickHouse stand-in did not start; its error is on stderr")
        started = json.loads(line)
        self.port, self._control = started["port"], started["control"]

    def stop(self) -> None:
        """Send SIGTERM; do nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process:
            process.send_signal(number)
            with process:  # closes the pipe and waits
                pass

    def fault(
        self,
        kind: FaultKind,
        times: int | None = None,
        match: StatementKind | None = None,
        ms: int = 0,
    ) -> None:
        """Switch on the one fault that applies from now on; see Fault. Raises ValueError."""
        body = {"kind": kind, "times": times, "match": match, "ms": ms}
        answer = self._ask("POST", "/__fault", json=body)
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise ValueError(answer.text.strip())
        answer.raise_for_status()

    def clear(self) -> None:
        """Switch faults off; requests that hang keep hanging."""
        self._ask("DELETE", "/__fault").raise_for_status()

    def log(self) -> list[Executed]:
        """Returns what was executed since the last start."""
        answer = self._ask("GET", "/__log").raise_for_status()
        return msgspec.json.decode(answer.content, type=list[Executed])

    def _ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        with httpx2.Client(trust_env=False, timeout=PATIENCE_SECONDS, verify=False) as client:
            return client.request(method, f"http://127.0.0.1:{self._control}{path}", **more)
