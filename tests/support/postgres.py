"""Runs a real PostgreSQL of its own: a new cluster in a temporary folder, on a loopback port."""

import os
import pwd
import shutil
import signal
import subprocess
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

from app.storage import state_postgres
from tests.support.service import free_port

USER = "postgres"  # who runs it if the tests run as root, which PostgreSQL refuses
PASSWORD = "a-password-that-must-not-show"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
TEMPLATE = "template_state"
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB")


def available() -> bool:
    """Returns whether PostgreSQL is installed and can run."""
    return bool(PROGRAMS) and (
        os.geteuid() != 0 or USER in {user.pw_name for user in pwd.getpwall()}
    )


class Postgres:
    """A cluster; `with` starts it and ends it. `stop()` and `start()` are for faults."""

    def __init__(self) -> None:
        # pytest's folders are closed to the user that runs it.
        self.folder, self.port = Path(mkdtemp(prefix="mailwake-postgres-")), free_port()
        self._numbers = count(1)

    def __enter__(self) -> Self:
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, data, secret):
                shutil.chown(path, USER)
        options = ("-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "--no-sync")
        self._run("initdb", "-D", data, "-U", "mailwake", f"--pwfile={secret}", *options)
        self.start()
        self._execute("postgres", f"CREATE DATABASE {TEMPLATE}")
        engine = state_postgres.connect(self.dsn(TEMPLATE))
        state_postgres.bring_up_to_date(engine, migrate=True)
        engine.dispose()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = " ".join(f"-c {setting}" for setting in FAST)
        place = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories="
        data, log = self.folder / "data", self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", f"{place} {settings}")

    def stop(self) -> None:
        """Stop it as a crash does."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.folder / "data")

    def pause(self, number: int = signal.SIGSTOP) -> None:
        """Let all its processes hang: connections stay open, and nobody answers."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            os.kill(pid, number)

    def resume(self) -> None:
        """Let them go on."""
        self.pause(signal.SIGCONT)

    def dsn(self, name: str) -> str:
        """Returns the setting for a database."""
        return f"postgresql://mailwake:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def database(self, empty: bool = False) -> str:
        """Create a database with the tables, or an empty one; returns its setting."""
        name = f"state_{next(self._numbers)}"
        self._execute(
            "postgres",
            f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else TEMPLATE}",
        )
        return self.dsn(name)

    def _execute(self, database: str, statement: str) -> None:
        engine = state_postgres.connect(self.dsn(database))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def _run(self, program: str, *arguments: str | Path) -> None:
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user = {"user": USER, "group": USER, "extra_groups": []}
        output = self.folder / f"{program}.output"
        with output.open("w") as file:  # the server keeps it open, so no pipe
            done = subprocess.run(
                [PROGRAMS[-1] / program, *arguments],
                cwd=self.folder,
                stdout=file,
                stderr=file,
                check=False,
                **as_user,
            )
        if done.returncode:
            raise RuntimeError(f"{program}: {output.read_text()}")
