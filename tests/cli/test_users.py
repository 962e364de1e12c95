"""`mailwake users` and `login-link`, beside a service that runs."""

import re
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from app.auth.users import Users
from app.cli.main import cli
from app.storage.state_db import open_state
from tests.auth.test_workspaces import shell
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

PASSWORD = "lanterns on the wake"


def test_a_running_service_learns_of_users(service: Service) -> None:
    folder, name = service.data_dir, "by-shell@example.com"
    link = shell(folder, "users", "add", name, "--role", "editor").strip()
    assert link.endswith("&next=/account")
    path = link[link.index("/login") :]
    with (
        httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as visitor,
        httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as other,
    ):
        assert service.enter(visitor, path).status_code == 303
        assert "Role: editor · Workspace: default" in visitor.get("/account").text
        assert re.search(rf"{name}\s+editor\s+none\s+1\b", shell(folder, "users", "list"))
        assert visitor.get("/access").status_code == 403
        shell(folder, "users", "role", name, "admin")
        assert visitor.get("/access").status_code == 200
        shell(folder, "users", "password", name, stdin=f"{PASSWORD}\n")
        assert visitor.get("/account").status_code == 303
        assert service.login(visitor, name, PASSWORD).status_code == 303
        assert shell(folder, "users", "logout", name) == "1 sessions ended\n"
        assert visitor.get("/account").status_code == 303
        again = shell(folder, "login-link", name).strip()
        assert service.enter(other, again[again.index("/login") :]).status_code == 303
        shell(folder, "users", "remove", name)
        assert other.get("/account").status_code == 303
    assert name not in shell(folder, "users", "list")


def test_a_name_of_several_workspaces_needs_the_workspace(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for workspace in ("acme", "zoo"):
        Users(state).add("ann", workspace, "viewer")
    runner, folder = CliRunner(), ["--data-dir", str(tmp_path)]
    for words in (["role", "ann", "editor"], ["logout", "ann"], ["remove", "ann"]):
        done = runner.invoke(cli, ["users", *words, *folder])
        assert done.exit_code == 2
        assert "several workspaces have a user 'ann' (acme, zoo): add --workspace" in done.output
    done = runner.invoke(cli, ["users", "role", "ann", "editor", "--workspace", "zoo", *folder])
    assert done.exit_code == 0, done.output
    roles = [user.role for user in Users(state).named("ann")]
    assert roles == ["viewer", "editor"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("users", "add", ""), "name: must have 1 to 100 printable characters"),
        (("users", "add", "ann"), "name: 'ann' is already taken"),
        (("users", "add", "bob", "--role", "boss"), "role: must be one of viewer, editor, admin"),
        (("users", "add", "bob", "--workspace", "none"), "workspace: 'none' is unknown"),
        (("users", "role", "ann", "boss"), "role: must be one of viewer, editor, admin"),
        (("users", "role", "bob", "admin"), "there is no user 'bob'"),
        (("users", "role", "ann", "viewer"), "role: 'ann' is the last admin"),
        (("users", "remove", "ann"), "role: 'ann' is the last admin of workspace 'default'"),
        (("users", "remove", "bob"), "there is no user 'bob'"),
        (("users", "logout", "bob"), "there is no user 'bob'"),
        (("users", "password", "ann"), "password: must have at least 16 characters"),
        (("users", "password", "bob"), "there is no user 'bob'"),
        (("login-link",), "there is no user 'admin'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    Users(open_state(tmp_path)).add("ann", "default", "admin")
    before = [shell(tmp_path, name, "list") for name in ("keys", "users")]
    done = CliRunner().invoke(cli, [*words, "--data-dir", str(tmp_path)], input="short\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr
    assert [shell(tmp_path, name, "list") for name in ("keys", "users")] == before
