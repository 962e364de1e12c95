import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.auth import api_keys as keys_module
from app.auth.api_keys import KeyNameError, Keys
from app.settings.load import load, with_secrets
from app.settings.settings import Settings
from app.storage.state_db import open_state
from tests.support.paths import contents_below


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return with_secrets(load(data_dir=tmp_path, api_keys="the-operators-own"))


@pytest.fixture
def keys(chosen: Settings) -> Keys:
    return Keys(open_state(chosen.data_dir), chosen)


def test_a_key_is_found_by_its_secret_alone(keys: Keys) -> None:
    made, secret = keys.add("acme", "shop", ["read"], "ann")
    found = keys.find(secret)
    assert found and (found.id, found.workspace, found.scopes) == (
        made.id,
        "acme",
        frozenset({"read"}),
    )
    assert secret.startswith("mw_") and len(secret) == 35
    for other in ("", "mw_", secret[:-1], secret + "x", "\udcff", "local."):
        assert keys.find(other) is None


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ({"rewrite"}, {"rewrite"}),
        ({"read"}, {"read"}),
        ({"outcomes"}, {"outcomes"}),
        ({"admin"}, {"rewrite", "outcomes", "read", "admin"}),
    ],
)
def test_scopes(keys: Keys, scopes: set[str], may: set[str]) -> None:
    key, _ = keys.add("default", "x", scopes, "")
    assert {scope for scope in ("rewrite", "outcomes", "read", "admin") if key.may(scope)} == may


def test_what_is_wrong_is_named(keys: Keys) -> None:
    for name, scopes, says in (
        ("", ["read"], "name"),
        ("x" * 101, ["read"], "name"),
        ("a\nb", ["read"], "name"),
        ("x", [], "scopes"),
        ("x", ["write"], "scopes"),
    ):
        with pytest.raises(KeyNameError, match=f"^{says}: "):
            keys.add("default", name, scopes, "")
    assert keys.all("default") == []


def test_a_key_that_another_process_revokes_ends(
    keys: Keys, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, secret = keys.add("default", "shop", ["read"], "")
    assert keys.find(secret)
    other = Keys(open_state(chosen.data_dir), chosen)
    assert not other.revoke("acme", made.id)  # another workspace's
    assert other.revoke("default", made.id) and not other.revoke("default", made.id)
    assert other.find(secret) is None
    monkeypatch.setattr(keys_module, "POLL_SECONDS", 0.0)
    assert keys.find(secret) is None
    (listed,) = keys.all("default")
    assert listed.revoked and listed.hint == secret[:6]


def test_a_key_that_another_process_makes_is_known(keys: Keys, chosen: Settings) -> None:
    assert keys.find("mw_none") is None
    _, secret = Keys(open_state(chosen.data_dir), chosen).add("default", "shop", ["read"], "")
    assert keys.find(secret)


def test_secrets_are_nowhere_on_the_disk(keys: Keys, chosen: Settings) -> None:
    _, secret = keys.add("default", "shop", ["read"], "")
    keys.note_uses()
    contents = list(contents_below(chosen.data_dir))
    assert contents
    for content in contents:
        assert secret.encode() not in content
        assert b"the-operators-own" not in content


def test_while_state_db_is_away_known_keys_go_on(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = keys.add("default", "shop", ["read"], "")
    assert keys.find(secret)

    def away(*_: object) -> None:
        raise OperationalError("", None, Exception("disk I/O error"))

    monkeypatch.setattr(keys_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(keys._engine, "connect", away)
    assert keys.find(secret) and keys.find("the-operators-own")
    assert keys.find("mw_none") is None


def test_the_last_use_is_noted(keys: Keys) -> None:
    _, secret = keys.add("default", "shop", ["read"], "")
    assert keys.all("default")[0].used is None
    keys.find(secret)
    keys.note_uses()
    used = keys.all("default")[0].used
    assert used
    keys._used = {keys.all("default")[0].id: used - 60}
    keys.note_uses()  # of a process that saw the key before another did
    assert keys.all("default")[0].used == used


def test_uses_are_noted_at_the_end_and_later_while_state_db_is_away(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = keys.add("default", "shop", ["read"], "")
    keys.find(secret)

    def away(*_: object) -> None:
        raise OperationalError("", None, Exception("disk I/O error"))

    with monkeypatch.context() as patched:
        patched.setattr(keys._engine, "begin", away)
        keys.note_uses()

    async def stopped() -> None:
        running = asyncio.create_task(keys.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(stopped())
    assert keys.all("default")[0].used
