"""Return paths: each names one message, in any case, and no changed one names any."""

import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.auth.workspaces import DEFAULT, Workspaces
from app.outcomes.return_path import (
    LOCAL_PART_CHARS,
    ReturnPathError,
    ReturnPaths,
    ReturnPathSigner,
)
from app.settings.settings import Settings
from app.storage.state_db import open_state
from app.tracking.tokens import BadTokenError, Tokens

KEY, OLDER_KEY = "k" * 32, "o" * 32
MESSAGE = "0192f3c4a5b67c8d9e0f1a2b3c4d5e6f"
SIGNER = ReturnPathSigner([KEY])
messages = st.uuids().map(lambda message: message.hex)


@given(messages, st.randoms(use_true_random=False))
def test_every_message_is_read_back_in_any_case(message: str, random: st.DataObject) -> None:
    local_part = SIGNER.local_part(message)
    assert re.fullmatch(rf"[a-z2-7]{{{LOCAL_PART_CHARS}}}", local_part)
    mixed = "".join(random.choice((c, c.upper())) for c in local_part)  # type: ignore[attr-defined]
    assert SIGNER.message(mixed) == SIGNER.message(local_part.upper()) == message


@given(messages, st.integers(0, LOCAL_PART_CHARS - 1), st.characters())
def test_no_character_can_be_changed(message: str, place: int, character: str) -> None:
    local_part = SIGNER.local_part(message)
    changed = local_part[:place] + character + local_part[place + 1 :]
    if changed.isascii() and changed.lower() == local_part:
        assert SIGNER.message(changed) == message
    else:
        with pytest.raises(BadTokenError):
            SIGNER.message(changed)


@given(st.text(max_size=80))
def test_any_other_text_names_no_message(local_part: str) -> None:
    with pytest.raises(BadTokenError):
        SIGNER.message(local_part)


def test_keys_are_rotated_like_those_of_links() -> None:
    old, new = ReturnPathSigner([OLDER_KEY]), ReturnPathSigner([KEY, OLDER_KEY])
    assert new.message(old.local_part(MESSAGE)) == MESSAGE
    assert new.local_part(MESSAGE) == SIGNER.local_part(MESSAGE)
    with pytest.raises(BadTokenError):
        old.message(new.local_part(MESSAGE))


def test_a_return_path_is_no_other_token() -> None:
    """Its signature opens nothing: neither pixels nor unsubscribe pages accept it."""
    local_part = SIGNER.local_part(MESSAGE)
    for read in (Tokens([KEY]).read_message, Tokens([KEY]).read_unsubscribe):
        with pytest.raises(BadTokenError):
            read(local_part)


def settings_of(folder: Path) -> Settings:
    own = {"data_dir": folder, "secret_keys": (KEY,), "recipient_key": "r" * 32}
    return Settings.model_validate(own)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


@pytest.fixture
def paths(engine: Engine, tmp_path: Path) -> ReturnPaths:
    settings = settings_of(tmp_path)
    return ReturnPaths("bounces.example", Workspaces(engine, settings))


def test_a_return_path_names_message_and_workspace(
    paths: ReturnPaths, engine: Engine, tmp_path: Path
) -> None:
    assert paths.create(DEFAULT, MESSAGE).endswith("@bounces.example")
    settings = settings_of(tmp_path)
    Workspaces(engine, settings).add("shop", "https://click.shop.example")
    own = paths.create("shop", MESSAGE)  # although workspaces were read a moment ago
    named = paths.read(own)
    assert (named.workspace.name, named.message) == ("shop", MESSAGE)
    assert paths.read(paths.create(DEFAULT, MESSAGE)).workspace.name == DEFAULT
    assert len(own) <= 254


def test_what_is_wrong_is_named(paths: ReturnPaths) -> None:
    local_part = paths.create(DEFAULT, MESSAGE).partition("@")[0]
    forged = ("b" if local_part[-1] != "b" else "c").join([local_part[:-1], ""])
    with pytest.raises(ReturnPathError, match="signature of this return path is wrong"):
        paths.read(f"{forged}@bounces.example")
    for other in ("postmaster", "", local_part[1:], f"{local_part}+a", uuid.uuid4().hex):
        with pytest.raises(ReturnPathError, match="only reports about mail from here"):
            paths.read(f"{other}@bounces.example")


def test_the_domain_is_compared_as_the_dns_does(paths: ReturnPaths) -> None:
    assert paths.has_domain("a@Bounces.EXAMPLE") and paths.has_domain("a@bounces.example.")
    for other in ("a@example", "a@x.bounces.example", "bounces.example@b", "", "bounces.example."):
        assert paths.has_domain(other) == (other == "bounces.example.")


def test_known_workspaces_apply_while_the_state_is_unavailable(
    paths: ReturnPaths, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = paths.create(DEFAULT, MESSAGE)
    with engine.begin() as connection:
        connection.execute(text("drop table workspaces"))
    monkeypatch.setattr("app.outcomes.return_path.POLL_SECONDS", 0.0)
    assert paths.read(own).message == MESSAGE
    with pytest.raises(OperationalError):
        ReturnPaths("bounces.example", paths._workspaces).read(own)
