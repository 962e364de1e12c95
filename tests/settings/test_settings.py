import json
import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import cli
from app.settings.load import (
    load,
    meant,
    unknown_variables,
    with_secrets,
)
from app.settings.settings import PREFIX, Settings, SettingsError
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert re.search(rf"^\| `{PREFIX}{name.upper()}` \|", text, re.MULTILINE)
    assert Settings.model_fields[name].description


def test_only_settings_are_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    documented = set(re.findall(rf"`{PREFIX}([A-Z_]+)`", text))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_flag_of_serve_has_its_variable() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "200"}).output
    flags = set(re.findall(r"--([a-z][a-z-]+)", shown)) - {"help"}
    assert len(flags) > 5
    flags = {flag.removeprefix("no-") for flag in flags}
    assert {flag.replace("-", "_") for flag in flags} <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "eighty", "valid integer"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("JOURNAL_SYNC_MS", "-1", "greater than or equal to 0"),
        ("PUBLIC_URL", "click.example.com", "must be http(s)://host"),
        ("PUBLIC_URL", "https://u:p@example.com", "must not contain a user name"),
        ("PUBLIC_URL", "https://exämple.com", "plain ASCII"),
        ("SECRET_KEYS", "short", "at least 16 characters"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,everyone", "everyone"),
        ("CLICKHOUSE_DSN", "postgres://host", "clickhouse(s)://"),
        ("CLICKHOUSE_DSN", "clickhouse://host:port", "Port"),
        ("LOG_LEVEL", "loud", "'debug', 'info'"),
        ("BOUNCE_DOMAIN", "ann@shop.example", "is not a domain name"),
        ("BOUNCE_DOMAIN", ".".join(["a" * 60] * 4), "must have at most 197 characters"),
        ("PLACEHOLDERS", "<<...>>,a", "'a': must be START...END or a word"),
        ("PLACEHOLDERS", "x" * 41, "must have at most 40 characters"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    result = CliRunner().invoke(cli, ["serve"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert f"{PREFIX}{name}:" in result.output
    assert says in result.output
    assert not Path("data").exists()


def test_a_secret_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_SECRET_KEYS", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_dotenv_is_read_and_the_environment_and_flags_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MAILWAKE_PORT=1111\nMAILWAKE_HOST=127.0.0.2\nOTHER=1\n")
    assert (load().port, load().host) == (1111, "127.0.0.2")
    monkeypatch.setenv("MAILWAKE_PORT", "2222")
    assert load().port == 2222
    assert load(port=3333).port == 3333


def test_paths_do_not_depend_on_the_working_folder(tmp_path: Path) -> None:
    """Opening chDB leaves it for a moment, and what was relative was then not found."""
    (tmp_path / "hooks.toml").write_text("")
    found = load(webhooks_file="hooks.toml")
    assert (found.data_dir, found.webhooks_file) == (tmp_path / "data", tmp_path / "hooks.toml")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_API_KEYS", " one-of-two-keys-set , the-other-of-two-keys,,")
    monkeypatch.setenv("MAILWAKE_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    loaded = load()
    assert loaded.api_keys == ("one-of-two-keys-set", "the-other-of-two-keys")
    assert loaded.trusted_proxies == ("10.0.0.0/8", "::1")


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    first = with_secrets(load(data_dir=folder))
    again = with_secrets(load(data_dir=folder))
    assert first == again
    assert all([first.secret_keys, first.recipient_key])
    assert not first.api_keys and not first.dashboard_password
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600


def test_secrets_that_are_set_win_over_the_file(tmp_path: Path) -> None:
    with_secrets(load(data_dir=tmp_path))
    chosen = with_secrets(load(data_dir=tmp_path, api_keys="mine-and-nobody-else's"))
    assert chosen.api_keys == ("mine-and-nobody-else's",)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"secret_keys": ["short"]})])
def test_a_broken_secrets_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.json").write_text(text)
    with pytest.raises(SettingsError, match=r"MAILWAKE_DATA_DIR: .*secrets\.json"):
        with_secrets(load(data_dir=tmp_path))


def test_a_misspelt_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_PROT", "80")
    assert unknown_variables() == ["MAILWAKE_PROT"]
    assert meant("MAILWAKE_PROT") == "MAILWAKE_PORT"
    assert meant("mailwake_clickhose_dsn") == "MAILWAKE_CLICKHOUSE_DSN"
    assert meant("MAILWAKE_QQQQQQQQQQQQQQQQQQQQQQQ") == ""
