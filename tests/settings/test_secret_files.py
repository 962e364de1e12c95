from pathlib import Path

import pytest

from app.settings import settings
from app.settings.load import load, unknown_variables
from app.settings.secret_files import SECRETS, VARIABLES, SecretFileError, named, read
from app.settings.settings import PREFIX, Settings


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.removesuffix("_FILE"), raising=False)


def test_every_secret_is_a_setting() -> None:
    assert set(SECRETS) <= set(Settings.model_fields)
    assert VARIABLES["api_keys"] == "MAILWAKE_API_KEYS_FILE"


def test_files_hold_secrets_without_the_white_space_around_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (named(), read()) == ({}, {})
    path = tmp_path / "key"
    path.write_text(" two words \r\n\n")
    monkeypatch.setenv("MAILWAKE_RECIPIENT_KEY_FILE", str(path))
    monkeypatch.setenv("MAILWAKE_API_KEYS_FILE", "")  # as Compose sets what is not set
    assert named() == {"recipient_key": path}
    assert read() == {"recipient_key": "two words"}


def test_a_file_that_cannot_be_read_is_named_without_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret\xff")
    for wrong in (path, tmp_path, tmp_path / "none"):
        monkeypatch.setenv("MAILWAKE_SMARTHOST_FILE", str(wrong))
        with pytest.raises(SecretFileError, match="MAILWAKE_SMARTHOST_FILE: cannot read") as caught:
            read()
        assert "secret" not in str(caught.value)


def test_a_secret_is_set_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("from the file")
    monkeypatch.setenv("MAILWAKE_SMARTHOST_FILE", str(path))
    monkeypatch.setenv("MAILWAKE_SMARTHOST", "from the environment")
    with pytest.raises(SecretFileError, match="MAILWAKE_SMARTHOST, not both") as caught:
        read()
    assert "from the" not in str(caught.value)


@pytest.mark.parametrize("name", VARIABLES)
def test_every_secret_may_stand_in_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {
        "clickhouse_dsn": "clickhouse://a:secret-of-good-length@c/d",
        "state_dsn": "postgresql://a:secret-of-good-length@c/d",
        "smarthost": "smtp://a:secret-of-good-length@c:25",
    }.get(name, "a-secret-of-good-length")
    (tmp_path / "file").write_text(f"{value}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.setenv(VARIABLES[name], str(tmp_path / "file"))
    read = getattr(load(), name)
    assert read == ((value,) if isinstance(read, tuple) else value)
    assert unknown_variables() == []
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(settings.SettingsError, match="not both"):
        load()
    monkeypatch.delenv(PREFIX + name.upper())
    monkeypatch.setenv(VARIABLES[name], str(tmp_path / "none"))
    with pytest.raises(settings.SettingsError, match=f"{VARIABLES[name]}: cannot read"):
        load()
