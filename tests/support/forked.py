"""Starts `mailwake` by forking a process that has imported it: imports are half of a start.

The forked process runs the command itself, with its own arguments, environment and log. It opens
chDB after the fork, as every process does. Services that are started as users start them are in
FirstStart, in tests/docs/test_blocks.py and in tests/server/test_bootstrap.py.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

PRELOADED = (
    "app.cli.main",
    "app.cli.serve",
    "app.server.service",
    "app.smtp.gateway",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
)


class Forked:
    """What tests use of subprocess.Popen, for a process of `mailwake` in ROOT."""

    def __init__(self, command: str, env: Mapping[str, str], log: Path, faults: str = "") -> None:
        log.touch()
        start = {"command": command, "env": dict(env), "log": str(log), "faults": faults}
        self.pid: int = _parent().ask(start)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, or None while the process runs."""
        if self.returncode is None:
            self.returncode = _parent().ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises TimeoutExpired after so many seconds."""
        if self.poll() is None:
            file = os.pidfd_open(self.pid)
            try:
                if not select.select([file], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("mailwake", timeout or 0)
            finally:
                os.close(file)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until then the process id is not given to another
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Parent:
    """The process that is forked; one for each process of tests."""

    def __init__(self) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"],
            cwd=ROOT,
            env={**env, "COLUMNS": "300"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._end)

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin and self._process.stdout
        with self._lock:
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _end(self) -> None:
        with self._process:  # closes its input, which ends it
            pass


_parent = cache(_Parent)


def _answer(request: dict[str, Any]) -> int | None:
    if "poll" in request:
        pid, status = os.waitpid(request["poll"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None
    return os.fork() or _run(**request)


def _run(command: str, env: dict[str, str], log: str, faults: str) -> Any:
    """Become the command; does not return."""
    nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
    for file, number in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(written)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["mailwake", command]
    exec(faults, {"__name__": "__main__"})
    from app.__main__ import main

    main()
    sys.exit()


def _serve() -> None:
    """Answer requests, one a line, until the input ends."""
    import gc
    from importlib import import_module

    gc.disable()
    for name in PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()  # or a collection in the forked process would copy every page
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "only a process of one thread can be forked"
    with open(0, closefd=False) as requests:
        for line in iter(requests.readline, ""):
            answer = _answer(json.loads(line))
            os.write(1, f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    _serve()
