from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from app.auth import workspaces
from app.auth.workspaces import DEFAULT, HttpsWorkspaces, WorkspaceError, Workspaces
from app.cli.main import cli
from app.server.workspaces import readers
from app.settings.load import load, with_secrets
from app.settings.settings import Settings
from app.storage.state_db import open_state
from app.tracking.tokens import LinkToken, TokenReaders, Tokens
from tests.support.service import Service, paths, tracked_urls

MAIL = '<body><a href="https://example.com/boots">x</a></body>'


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return with_secrets(
        load(
            data_dir=tmp_path,
            public_url="https://click.example",
            dashboard_url="https://console.example",
        )
    )


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def test_the_first_is_what_the_settings_say(chosen: Settings, state: Engine) -> None:
    (first,) = Workspaces(state, chosen).all()
    assert (first.name, first.public_url) == (DEFAULT, "https://click.example")
    assert first.settings(chosen) is chosen


def test_each_has_secrets_and_a_domain_of_its_own(chosen: Settings, state: Engine) -> None:
    found = Workspaces(state, chosen)
    acme, zoo = found.add("acme", "https://acme.example/"), found.add("zoo", "https://zoo.example")
    assert found.all()[1:] == [acme, zoo]
    assert acme.public_url == "https://acme.example"
    secrets = [{*one.secret_keys, one.recipient_key} for one in found.all()]
    assert len(set.union(*secrets)) == 6
    own = acme.settings(chosen)
    assert (own.public_url, own.console_url) == ("https://acme.example", "https://console.example")
    assert (own.secret_keys, own.recipient_key) == (acme.secret_keys, acme.recipient_key)


def test_workspaces_with_https_are_known_and_read_again(
    chosen: Settings, state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Workspaces(state, chosen)
    found.add("plain", "http://plain.example")
    https = HttpsWorkspaces(found)
    assert [https(name) for name in (DEFAULT, "plain", "unknown")] == [True, False, False]
    found.move("plain", "https://plain.example")
    assert not https("plain"), "not read for every hit"
    monkeypatch.setattr(workspaces, "REREAD_SECONDS", -1.0)
    assert https("plain")


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("", "https://a.example", "name: must have"),
        ("Acme", "https://a.example", "name: must have"),
        ("a/b", "https://a.example", "name: must have"),
        ("a" * 41, "https://a.example", "name: must have"),
        (
            "default",
            "https://a.example",
            "name: 'default' is reserved for the workspace of the settings",
        ),
        ("zoo", "https://a.example", "name: 'zoo' already exists"),
        ("acme", "", "public_url: is required"),
        ("acme", "a.example", "public_url: must be http(s)://host"),
        (
            "acme",
            "https://ZOO.example/x",
            "public_url: zoo.example is already the host of workspace 'zoo'",
        ),
        (
            "acme",
            "https://click.example",
            "public_url: click.example is already the host of workspace 'default'",
        ),
        (
            "acme",
            "https://console.example",
            "public_url: console.example is the host of the dashboard",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    chosen: Settings, state: Engine, name: str, url: str, says: str
) -> None:
    found = Workspaces(state, chosen)
    found.add("zoo", "https://zoo.example")
    before = found.all()
    with pytest.raises(WorkspaceError) as caught:
        found.add(name, url)
    assert str(caught.value).startswith(says)
    assert found.all() == before


def test_a_new_key_signs_and_the_old_one_verifies(chosen: Settings, state: Engine) -> None:
    found = Workspaces(state, chosen)
    before, after = found.add("acme", "https://acme.example"), found.rotate("acme")
    assert after.secret_keys[1:] == before.secret_keys
    link = LinkToken(1, 0, "https://example.com/")
    reader = readers(found.all())[b"acme.example"]
    for one in (before, after):
        assert reader.read_link(Tokens(one.secret_keys).link(link)) == link
    for change in (found.rotate, lambda name: found.move(name, "https://x.example")):
        with pytest.raises(WorkspaceError, match="'default' can be changed in the settings only"):
            change(DEFAULT)
        with pytest.raises(WorkspaceError, match="'none' is unknown"):
            change("none")


def test_links_of_an_old_domain_live_on(chosen: Settings, state: Engine) -> None:
    found = Workspaces(state, chosen)
    acme = found.add("acme", "https://acme.example")
    found.move("acme", "https://new.example")
    by_host = readers(found.all())
    assert set(by_host) == {b"", b"click.example", b"new.example"}
    assert isinstance(by_host[b""], TokenReaders)  # what a host of nobody's takes
    link = LinkToken(1, 0, "https://example.com/")
    assert by_host[b""].read_link(Tokens(acme.secret_keys).link(link)) == link


def shell(folder: Path, *words: str, stdin: str | None = None) -> str:
    done = CliRunner().invoke(cli, [*words, "--data-dir", str(folder)], input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_running_service_takes_up_what_the_shell_does(service: Service) -> None:
    folder = service.data_dir
    shell(folder, "workspaces", "add", "acme", "http://acme.example")
    mail = ("rewrite", "-", "--workspace", "acme", "--newsletter", "spring")
    html = shell(folder, *mail, stdin=MAIL)
    assert html.count("http://acme.example/") == 2
    click, _ = sorted(paths(tracked_urls(html.replace("acme.example", "127.0.0.1:1"))))

    def answer(host: str) -> tuple[int, str]:
        found = service.client.get(click, headers={"host": host})
        return found.status_code, found.headers.get("location", "")

    there = (302, "https://example.com/boots")
    service.wait_for(lambda: answer("acme.example") == there, "the workspace's own host")
    own = f"127.0.0.1:{service.port}"
    assert answer(own)[0] == 404  # of the settings' own workspace: it leads nobody else's links
    assert service.client.get("/login", headers={"host": "acme.example"}).status_code == 404
    shell(folder, "workspaces", "move", "acme", "http://new.example")
    shell(folder, "workspaces", "rotate", "acme")
    service.wait_for(lambda: answer("new.example") == there, "the new host")
    assert answer("acme.example") == there
    assert "new.example" in shell(folder, "workspaces", "list")


def test_the_shell_names_what_is_wrong(tmp_path: Path) -> None:
    for words, says in (
        (("workspaces", "add", "A B", "http://a.example"), "name: must have"),
        (("workspaces", "rotate", "none"), "workspace: 'none' is unknown"),
        (("rewrite", "-", "--workspace", "none"), "workspace: 'none' is unknown"),
    ):
        done = CliRunner().invoke(cli, [*words, "--data-dir", str(tmp_path)], input="")
        assert done.exit_code == 2
        assert says in done.output
