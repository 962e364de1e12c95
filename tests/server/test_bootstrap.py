"""The first start, the next ones, and the first after an upgrade."""

import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine

from app.auth import first_login
from app.auth.api_keys import Keys
from app.auth.sessions import Sessions
from app.auth.users import ADMIN, Users
from app.server import bootstrap as bootstrap_module
from app.server.bootstrap import bootstrap, take_over
from app.settings.load import load, with_secrets
from app.storage.state_db import open_state
from tests.e2e.test_operations import serving
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.paths import ROOT, contents_below
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service

OLD_KEY, OLD_PASSWORD = "mw_" + "k" * 32, "kept in the clear"
KEY, LINK = re.compile(r"mw_[\w-]{32}"), re.compile(r"http://\S+/login\?code=[\w-]+")


class Fresh(Service):
    """A service whose settings name no key and no password."""

    def __init__(self, data_dir: Path, faults: str = "", **env: str) -> None:
        super().__init__(data_dir, faults, **env)
        for name in ("MAILWAKE_API_KEYS", "MAILWAKE_DASHBOARD_PASSWORD"):
            if name not in env:
                del self.env[name]

    def said(self) -> tuple[list[str], list[str]]:
        """Returns keys and links of the file that the log names; the log has none."""
        log, file = self.log.read_text(), self.data_dir / first_login.FILE
        assert KEY.findall(log) == LINK.findall(log) == []
        assert (str(file) in log) == file.exists()
        self.log.write_text("")
        text = file.read_text() if file.exists() else ""
        return KEY.findall(text), LINK.findall(text)

    def takes(self, key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.get(
            f"{self.url}/metrics", headers=headers, timeout=PATIENCE_SECONDS
        ).status_code

    def visitor(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, trust_env=False, timeout=PATIENCE_SECONDS)


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def old(folder: Path) -> None:
    """A data folder as it was before keys and passwords were hashed."""
    folder.mkdir(exist_ok=True)
    stored = {
        "secret_keys": ["s" * 32],
        "recipient_key": "r" * 32,
        "api_keys": [OLD_KEY],
        "dashboard_password": OLD_PASSWORD,
    }
    (folder / "secrets.json").write_text(json.dumps(stored))


def hashed_only(folder: Path) -> bool:
    """Whether key and password stand in no file."""
    files = list(contents_below(folder))
    assert files
    return not any(s.encode() in content for s in (OLD_KEY, OLD_PASSWORD) for content in files)


def test_the_first_start_makes_a_key_and_a_user_and_says_so_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with Fresh(folder) as service, service.visitor() as admin:
        (key,), (link,) = service.said()
        file = folder / first_login.FILE
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        (made,) = Keys(open_state(folder), with_secrets(load(data_dir=folder))).all("default")
        assert (made.name, *made.scopes) == ("first", "admin")
        service.stop()
        service.start()
        keys, (another,) = service.said()  # while there is no password
        assert keys == [key] and another != link
        assert service.takes(key) == 200
        assert not file.exists()
        service.stop()
        service.start()
        assert service.said()[0] == []
        assert service.enter(admin, link).status_code == 303
        assert "Role: admin · Workspace: default" in admin.get("/account").text
        set_ = service.post(
            admin, "/account/password", admin.get("/account").text, password=OLD_PASSWORD
        )
        assert set_.status_code == 303
        assert not file.exists()
        service.stop()
        service.start()
        assert service.said() == ([], [])
        assert service.takes(key) == 200
        assert admin.get("/account").status_code == 200
        with service.visitor() as other:
            assert service.login(other, ADMIN, OLD_PASSWORD).status_code == 303


def test_a_terminal_shows_them_and_no_file_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    service = Fresh(folder)
    here, there = pty.openpty()
    command = [sys.executable, "-m", "app", "serve"]
    narrow = {**service.env, "COLUMNS": "60"}
    process = subprocess.Popen(command, env=narrow, cwd=ROOT, stdout=there, stderr=there)
    service.process = process
    os.close(there)
    shown = b""
    try:
        while b"Press Ctrl+C" not in shown:
            shown += os.read(here, 65_536)
        text = re.sub(r"\x1b\[[\d;]*m", "", shown.decode())
        (key,), (link,) = KEY.findall(text), LINK.findall(text)
        assert link in text.splitlines()  # whole, whatever the width, so that it can be opened
        assert not (folder / first_login.FILE).exists()
        wait_for(service._healthy, "health")
        assert service.takes(key) == 200
        with service.visitor() as admin:
            assert service.enter(admin, link).status_code == 303
    finally:
        process.terminate()
        with suppress(OSError):  # EIO when the last writer has closed its end
            while os.read(here, 65_536):
                pass
        process.wait(PATIENCE_SECONDS)
        os.close(here)
        service.client.close()


def test_an_older_folders_key_and_password_go_on_and_are_hashed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    old(folder)
    with Fresh(folder) as service, service.visitor() as admin:
        keys, _ = service.said()
        assert keys == []
        assert service.takes(OLD_KEY) == 200
        assert service.login(admin, ADMIN, OLD_PASSWORD).status_code == 303
        assert hashed_only(folder)
    kept = json.loads((folder / "secrets.json").read_text())
    assert kept == {"secret_keys": ["s" * 32], "recipient_key": "r" * 32}


def test_taking_over_may_be_cut_off_anywhere(
    tmp_path: Path, state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(Exception):
        pass

    def crash(*_: object, **__: object) -> None:
        raise CrashError

    old(tmp_path)
    chosen = with_secrets(load(data_dir=tmp_path))
    for place, name in ((Users, "set_password"), (bootstrap_module, "write_private")):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, crash)
            with pytest.raises(CrashError):
                bootstrap(chosen, state)
        keys = Keys(state, chosen)
        assert keys.find(OLD_KEY)
        assert OLD_KEY in (tmp_path / "secrets.json").read_text()
    bootstrap(chosen, state)
    assert [key.name for key in keys.all("default")] == ["from secrets.json"]
    found = Users(state).by_password(ADMIN, OLD_PASSWORD)
    assert found and found.role == "admin"
    assert hashed_only(tmp_path)


def test_what_the_settings_overruled_is_not_brought_to_life(tmp_path: Path, state: Engine) -> None:
    old(tmp_path)
    own = {"api_keys": "the-operators-own", "dashboard_password": "the operator has one"}
    chosen = with_secrets(load(data_dir=tmp_path, **own))
    bootstrap(chosen, state)
    later = with_secrets(load(data_dir=tmp_path))
    bootstrap(later, state)
    assert Keys(state, later).find(OLD_KEY) is None
    assert Users(state).by_password(ADMIN, OLD_PASSWORD) is None
    assert Users(state).by_password(ADMIN, "the operator has one")
    assert hashed_only(tmp_path)


def test_the_settings_password_is_set_and_stays_when_it_is_gone(
    tmp_path: Path, state: Engine
) -> None:
    users, sessions = Users(state), Sessions(state)

    def start(password: str) -> None:
        bootstrap(with_secrets(load(data_dir=tmp_path, dashboard_password=password)), state)

    start("the first of two")
    admin = users.by_password(ADMIN, "the first of two")
    assert admin
    token = sessions.begin(admin, "x")
    start("the first of two")
    assert sessions.find(token)
    start("the second of two")
    assert sessions.find(token) is None
    assert users.by_password(ADMIN, "the first of two") is None
    token = sessions.begin(admin, "x")
    start("")
    assert users.by_password(ADMIN, "the second of two") and sessions.find(token)


def test_a_start_makes_no_administrator_where_somebody_is(tmp_path: Path, state: Engine) -> None:
    own = {"dashboard_password": "an operator's choice"}
    chosen, users = with_secrets(load(data_dir=tmp_path, **own)), Users(state)
    users.add("ann", "default", "admin")
    assert bootstrap(chosen, state).code == ""
    assert users.get(ADMIN) is None


def test_the_gateway_may_be_the_first_to_take_over(tmp_path: Path, state: Engine) -> None:
    old(tmp_path)
    chosen = with_secrets(load(data_dir=tmp_path))
    take_over(chosen, Keys(state, chosen), Users(state))
    assert hashed_only(tmp_path)
    bootstrap(chosen, state)
    assert Keys(state, chosen).find(OLD_KEY)
    assert Users(state).by_password(ADMIN, OLD_PASSWORD)


def test_workers_share_keys_sessions_and_codes(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        env = {"MAILWAKE_CLICKHOUSE_DSN": database.dsn, "MAILWAKE_WORKERS": "2"}
        data = tmp_path / "data"
        with Fresh(data, PATIENT_SUPERVISOR, **env) as service, service.visitor() as admin:
            assert service.process
            parent = service.process.pid
            service.wait_for(lambda: len(serving(parent)) == 2, "workers")
            (key,), (link,) = service.said()
            one, other = serving(parent)
            with only(one, other):
                assert service.takes(key) == 200
                assert service.enter(admin, link).status_code == 303
                cookies = dict(admin.cookies)
                stored = Keys(
                    open_state(service.data_dir), load(secret_keys="a key that signs nothing")
                )
                made, secret = stored.add("default", "later", ["read"], "")
            with only(other, one):
                assert service.takes(key) == 200
                with service.visitor() as other_visitor:
                    assert other_visitor.get(link).status_code == 403
                    other_visitor.cookies.update(cookies)
                    assert other_visitor.get("/account").status_code == 200
                service.wait_for(lambda: service.takes(secret) == 200, "the new key")
            stored.revoke("default", made.id)
            for pair in ((one, other), (other, one)):
                with only(*pair):
                    service.wait_for(lambda: service.takes(secret) == 401, "an end to the key")


# The supervisor kills workers that give no sign of life in five seconds, as a stopped one would.
PATIENT_SUPERVISOR = f"""
from uvicorn.supervisors.multiprocess import Process
alive = Process.is_alive
Process.is_alive = lambda self, timeout: alive(self, {PATIENCE_SECONDS})
"""


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


@contextmanager
def only(one: int, other: int) -> Iterator[None]:
    """One of two workers answers; `other` stands still."""
    os.kill(other, signal.SIGSTOP)
    try:
        wait_for(lambda: state_of(other) == "T", "stop")  # until then it may take a connection
        os.kill(one, 0)
        yield
    finally:
        os.kill(other, signal.SIGCONT)
