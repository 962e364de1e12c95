"""`mailwake keys`, beside a service that runs."""

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


def key_id(folder: Path, name: str) -> str:
    shown = shell(folder, "keys", "list")
    (found,) = re.findall(rf"(?m)^(key_\w+)\s+{name}\s", shown)
    return str(found)


def test_a_running_service_learns_of_keys(service: Service) -> None:
    folder, name = service.data_dir, "by-shell"

    def asked(path: str, secret: str) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        if path in ("/v1/rewrite", "/v1/erasures"):
            return httpx2.post(
                f"{service.url}{path}", headers=headers, json={}, timeout=PATIENCE_SECONDS
            ).status_code
        return httpx2.get(
            f"{service.url}{path}", headers=headers, timeout=PATIENCE_SECONDS
        ).status_code

    secret = shell(folder, "keys", "add", name).strip()
    assert re.fullmatch(r"mw_[\w-]{32}", secret)
    assert asked("/v1/rewrite", secret) == 422  # past the door; the body is what is wrong
    assert asked("/metrics", secret) == 403
    listed = shell(folder, "keys", "list")
    assert name in listed and secret not in listed and secret[:6] in listed
    assert shell(folder, "keys", "revoke", key_id(folder, name)).endswith("has been revoked\n")
    service.wait_for(lambda: asked("/v1/rewrite", secret) == 401, "an end to the key")
    both = ("--scope", "read", "--scope", "rewrite")
    wide = shell(folder, "keys", "add", "wide", *both).strip()
    assert (asked("/metrics", wide), asked("/v1/erasures", wide)) == (200, 403)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("keys", "add", ""), "name: must have 1 to 100 printable characters"),
        (
            ("keys", "add", "x", "--scope", "write"),
            "scopes: must be one or more of rewrite, outcomes, read, admin",
        ),
        (("keys", "add", "x", "--workspace", "none"), "workspace: 'none' is unknown"),
        (("keys", "list", "--workspace", "none"), "workspace: 'none' is unknown"),
        (("keys", "revoke", "key_none"), "there is no key 'key_none', or it was already revoked"),
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
