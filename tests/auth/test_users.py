from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine

from app.auth import sessions as sessions_module
from app.auth import users as users_module
from app.auth.sessions import Sessions
from app.auth.users import UserError, Users
from app.storage.state_db import open_state

PASSWORD = "correct horse battery"


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def test_only_name_and_password_together_let_in(state: Engine) -> None:
    users = Users(state)
    users.add("ann", "acme", "viewer", PASSWORD)
    users.add("bob", "acme", "viewer")
    found = users.by_password("ann", PASSWORD)
    assert found and (found.name, found.workspace, found.role) == ("ann", "acme", "viewer")
    for name, password in (("ann", "wrong"), ("bob", PASSWORD), ("bob", ""), ("none", PASSWORD)):
        assert users.by_password(name, password) is None


def test_passwords_are_hashed_by_argon2id(state: Engine, tmp_path: Path) -> None:
    Users(state).add("ann", "default", "viewer", PASSWORD)
    with state.connect() as connection:
        hashed = connection.exec_driver_sql("SELECT password FROM users").scalar_one()
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")  # RFC 9106, section 4
    assert not any(PASSWORD.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_login_renews_a_hash_of_other_costs(state: Engine) -> None:
    users = Users(state)
    users.add("ann", "default", "viewer")

    def stored() -> str:
        with state.connect() as connection:
            return str(connection.exec_driver_sql("SELECT password FROM users").scalar_one())

    old = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
    with state.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET password = ?", (old,))
    assert users.by_password("ann", "a wrong password") is None
    assert stored() == old
    assert users.by_password("ann", PASSWORD)
    renewed = stored()
    assert renewed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert users.by_password("ann", PASSWORD)
    assert stored() == renewed


@pytest.mark.parametrize(
    ("name", "role", "password", "says"),
    [
        ("", "viewer", "", "name"),
        (" ann", "viewer", "", "name"),
        ("a\tb", "viewer", "", "name"),
        ("x" * 101, "viewer", "", "name"),
        ("admin", "viewer", "", "name"),
        ("ann", "owner", "", "role"),
        ("ann", "viewer", "short", "password"),
        ("ann", "viewer", "x" * 201, "password"),
        ("there", "viewer", "", "name: 'there' is already taken"),
    ],
)
def test_what_is_wrong_is_named(
    state: Engine, name: str, role: str, password: str, says: str
) -> None:
    users = Users(state)
    users.add("there", "zoo", "viewer")
    with pytest.raises(UserError, match=f"^{says}"):
        users.add(name, "acme", role, password)
    assert users.all("acme") == []


def test_roles_include_those_before_them(state: Engine) -> None:
    users = Users(state)
    may = {
        user.role: [role for role in users_module.ROLES if user.may(role)]
        for user in [users.add(f"an {role}", "x", role) for role in users_module.ROLES]
    }
    assert may == {
        "viewer": ["viewer"],
        "editor": ["viewer", "editor"],
        "admin": ["viewer", "editor", "admin"],
    }


def test_a_new_password_ends_every_session_but_the_one_at_hand(state: Engine) -> None:
    users, sessions = Users(state), Sessions(state)
    ann, bob = users.add("ann", "default", "viewer", PASSWORD), users.add("bob", "x", "viewer")
    here, there = sessions.begin(ann, "here"), sessions.begin(ann, "there")
    others, code = sessions.begin(bob, "else"), users.new_code("ann")
    own = sessions.find(here)
    assert own
    users.set_password("ann", "another password", own.id)
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
    users.set_password("ann", "another password", found.id)
    found = sessions.find(token)
    assert found and not found.by_link


def test_the_last_administrator_of_a_workspace_stays(state: Engine) -> None:
    users = Users(state)
    for name, workspace, role in (
        ("ann", "acme", "admin"),
        ("bob", "acme", "editor"),
        ("zoe", "zoo", "admin"),
    ):
        users.add(name, workspace, role)
    before, last = users.all("acme"), "role: 'ann' is the last admin of workspace 'acme'"
    with pytest.raises(UserError, match=last):
        users.remove("ann")
    with pytest.raises(UserError, match=last):
        users.set_role("ann", "viewer")
    assert users.all("acme") == before
    users.set_role("ann", "admin")
    users.set_role("bob", "admin")
    users.set_role("ann", "viewer")
    users.remove("ann")
    assert [user.name for user in users.all("acme")] == ["bob"]
