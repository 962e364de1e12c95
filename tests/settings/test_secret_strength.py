"""Weak secrets are refused: by every setting that is one, and wherever a password is set."""

import json
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.users import UserError, Users
from app.settings.load import FOREIGN, GENERATED, load, weak_secrets, with_secrets
from app.settings.secret_files import SECRETS, URLS, VARIABLES
from app.settings.secret_strength import SHORTEST, weakness
from app.settings.settings import PREFIX, Settings, SettingsError
from app.storage.state_db import open_state

WEAK = (
    "a",
    "x" * 15,
    "a" * 40,
    "changemechangeme",
    "change-me-change-me!",
    "1234567890123456",
    "Password1234567890",
    "correct horse battery staple",
    "mailwake-password-1",
)
STRONG = ("staple of horses", "the operator has one", "Zwölf Boxkämpfer jagen Eva")
SECRET_NAMES = ("password", "secret", "key", "dsn", "smarthost")
NO_SECRETS = ("smtp_key", "dkim_key")  # files of private keys, no secrets that somebody chooses
URL_OF = {
    "clickhouse_dsn": "clickhouse://user:{}@db:8123/x",
    "state_dsn": "postgresql://user:{}@db:5432/x",
    "smarthost": "smtp://user:{}@mx:25",
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
        monkeypatch.delenv(f"{PREFIX}{name.upper()}_FILE", raising=False)


def setting(name: str, secret: str) -> str:
    return URL_OF[name].format(secret) if name in URLS else secret


def test_settings_that_sound_like_secrets_are_marked_as_such() -> None:
    named = {
        name
        for name in Settings.model_fields
        if any(word in name.split("_") or f"{word}s" in name.split("_") for word in SECRET_NAMES)
    }
    assert named - {*NO_SECRETS} - {"smarthost_ca"} == set(SECRETS)
    assert set(URL_OF) == set(URLS)


@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.parametrize("name", [name for name in SECRETS if name not in FOREIGN])
def test_every_secret_setting_refuses_a_weak_value(
    name: str, secret: str, in_a_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = setting(name, secret)
    if in_a_file:
        (tmp_path / "file").write_text(value)
        monkeypatch.setenv(VARIABLES[name], str(tmp_path / "file"))
    else:
        monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(SettingsError) as caught:
        load()
    text = str(caught.value)
    assert text.startswith(f"{PREFIX}{name.upper()}: ")
    assert len(secret) == 1 or secret not in text
    if name != "secret_keys" or len(secret) >= SHORTEST:  # whose length is a rule of its own
        assert "Create one with `openssl rand -hex 24`" in text
        assert ("secrets.json" in text) == (name in GENERATED)


@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_weak_password_of_another_server_is_reported(
    name: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operator has chosen it, and recipients' links must not wait for another one."""
    monkeypatch.setenv(PREFIX + name.upper(), setting(name, secret))
    (line,) = weak_secrets(load(), FOREIGN)
    assert line.startswith(f"{PREFIX}{name.upper()}: ")
    assert len(secret) == 1 or secret not in line


@pytest.mark.parametrize("secret", STRONG)
@pytest.mark.parametrize("name", SECRETS)
def test_long_words_are_strong_whatever_their_characters(
    name: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), setting(name, secret))
    assert secret in str(getattr(load(), name))


def test_one_weak_key_of_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_API_KEYS", f"{secrets.token_hex(16)},a")
    with pytest.raises(SettingsError, match="MAILWAKE_API_KEYS: a secret must have at least 16"):
        load()


def test_all_weak_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_API_KEYS", "a")
    monkeypatch.setenv("MAILWAKE_DASHBOARD_PASSWORD", "a")
    with pytest.raises(SettingsError, match=r"API_KEYS: .*\n.*DASHBOARD_PASSWORD: "):
        load()


def test_a_server_without_a_password_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_SMARTHOST", "smtp://127.0.0.1:25")
    monkeypatch.setenv("MAILWAKE_CLICKHOUSE_DSN", "clickhouse://mailwake@db:8123/x")
    assert load().smarthost == "smtp://127.0.0.1:25"


def test_a_weak_key_that_the_data_folder_holds_keeps_working(tmp_path: Path) -> None:
    """Pseudonyms and links of an installation would be lost without it."""
    stored = {"recipient_key": "x", "secret_keys": ["aaaaaaaaaaaaaaaaaaaa"]}
    (tmp_path / "secrets.json").write_text(json.dumps(stored))
    settings = with_secrets(load(data_dir=tmp_path))
    assert settings.recipient_key == "x"
    assert settings.secret_keys == ("aaaaaaaaaaaaaaaaaaaa",)


@pytest.mark.parametrize("password", WEAK)
def test_people_choose_no_weak_password(password: str, tmp_path: Path) -> None:
    users = Users(open_state(tmp_path))
    with pytest.raises(UserError, match="password: must"):
        users.add("ann", "default", "viewer", password)
    users.add("ann", "default", "viewer")
    with pytest.raises(UserError, match="password: must"):
        users.set_password("ann", password)
    assert users.by_password("ann", password) is None


def test_a_password_is_more_than_its_users_name(tmp_path: Path) -> None:
    users = Users(open_state(tmp_path))
    for name in ("marguerite.dupont@shop.example", "Marguerite"):
        with pytest.raises(UserError, match="names and common words"):
            users.add(name, "default", "viewer", "marguerite-Password-77")
    assert users.add("bob", "default", "viewer", "marguerite-Password-77 and more").has_password


@given(st.sampled_from((secrets.token_urlsafe, secrets.token_hex)), st.integers(16, 48))
def test_what_openssl_and_we_generate_is_never_weak(make: object, length: int) -> None:
    assert callable(make)
    assert weakness(make(length)) == ""


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_is_too_strange_and_none_is_shown(text: str, name: str) -> None:
    problem = weakness(text, name)
    assert problem == "" or (len(text) < 4 or text not in problem)


@given(st.text(min_size=1, max_size=9), st.integers(2, 40))
def test_repetition_adds_nothing(piece: str, times: int) -> None:
    assert weakness(piece * times)
