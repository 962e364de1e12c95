from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.auth import sessions as sessions_module
from app.auth import users as users_module
from app.auth.sessions import Sessions
from app.auth.users import Users
from app.storage.state_db import open_state

PASSWORD = "lanterns on the wake"


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def test_a_new_password_ends_every_session_but_the_one_at_hand(state: Engine) -> None:
    users, sessions = Users(state), Sessions(state)
    ann, bob = users.add("ann", "default", "viewer", PASSWORD), users.add("bob", "x", "viewer")
    here, there = sessions.begin(ann, "here"), sessions.begin(ann, "there")
    others, code = sessions.begin(bob, "else"), users.new_code("ann")
    own = sessions.find(here)
    assert own
    users.set_password("ann", "gulls over the quay", own.id)
    assert sessions.find(here) and sessions.find(others)
    assert sessions.find(there) is None
    assert users.by_code(code) is None
    assert users.by_password("ann", PASSWORD) is None
    users.set_password("ann", PASSWORD)
    assert sessions.find(here) is None


def test_sessions_end_by_hand_by_removal_and_by_age(
    state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, sessions = Users(state), Sessions(state)
    ann = users.add("ann", "default", "editor")
    tokens = [sessions.begin(ann, str(number)) for number in range(3)]
    first = sessions.find(tokens[0])
    assert first and first.user == ann and len(sessions.of("ann")) == 3
    sessions.end("bob", first.id)  # not theirs
    assert sessions.find(tokens[0])
    sessions.end("ann", first.id)
    assert sessions.find(tokens[0]) is None
    code = users.new_code("ann")
    assert sessions.end_all("ann") == 2
    assert users.by_code(code) is None
    token = sessions.begin(ann, "again")
    users.set_role("ann", "viewer")
    found = sessions.find(token)
    assert found and found.user.role == "viewer"
    users.remove("ann")
    assert sessions.find(token) is None
    ann = users.add("ann", "default", "viewer")
    assert sessions.find(token) is None
    monkeypatch.setattr(sessions_module, "SECONDS", -1)
    assert sessions.find(sessions.begin(ann, "old")) is None


def test_tokens_are_hashed(state: Engine, tmp_path: Path) -> None:
    users, sessions = Users(state), Sessions(state)
    token = sessions.begin(users.add("ann", "default", "viewer"), "x")
    code = users.new_code("ann")
    for path in tmp_path.iterdir():
        assert token.encode() not in path.read_bytes() and code.encode() not in path.read_bytes()
    for other in ("", token[:-1], token + "x", "\udcff"):
        assert sessions.find(other) is None


def test_a_login_code_works_once_in_whichever_process(
    state: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, other = Users(state), Users(open_state(tmp_path))
    users.add("ann", "acme", "viewer")
    code = users.new_code("ann")
    found = other.by_code(code)
    assert found and found.name == "ann"
    assert users.by_code(code) is None and users.by_code("guess") is None
    monkeypatch.setattr(users_module, "CODE_SECONDS", -1)
    assert users.by_code(users.new_code("ann")) is None


def test_a_code_can_be_looked_at_before_it_is_used(
    state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = Users(state)
    users.add("ann", "acme", "viewer")
    code = users.new_code("ann")
    for _ in range(2):
        found = users.of_code(code)
        assert found and found.name == "ann"
    assert users.of_code("guess") is None
    users.by_code(code)
    assert users.of_code(code) is None
    monkeypatch.setattr(users_module, "CODE_SECONDS", -1)
    assert users.of_code(users.new_code("ann")) is None


def test_a_link_spares_the_old_password_once(state: Engine) -> None:
    users, sessions = Users(state), Sessions(state)
    token = sessions.begin(users.add("ann", "acme", "viewer", PASSWORD), "x", by_link=True)
    found = sessions.find(token)
    assert found and found.by_link
    users.set_password("ann", "gulls over the quay", found.id)
    found = sessions.find(token)
    assert found and not found.by_link
