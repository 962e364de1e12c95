from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine

from app.auth import users as users_module
from app.auth.sessions import Sessions
from app.auth.users import UserError, Users
from app.storage.state_db import open_state

PASSWORD = "lanterns on the wake"


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
    known = users.add("there", "acme", "viewer")
    with pytest.raises(UserError, match=f"^{says}"):
        users.add(name, "acme", role, password)
    assert users.all("acme") == [known]


def test_workspaces_may_have_users_of_the_same_name(state: Engine) -> None:
    """And nobody learns from an answer which names others have."""
    users, passwords = Users(state), {}
    for number, workspace in enumerate(("zoo", "acme", "park")):
        passwords[workspace] = f"{workspace} has 9 lions, {number} bears"
        user = users.add("ann", workspace, "viewer", passwords[workspace])
        assert (user.name, user.workspace) == ("ann", workspace)
        with pytest.raises(UserError, match="already taken"):
            users.add("ann", workspace, "viewer")
    for workspace, password in passwords.items():
        user = users.by_password("ann", password)  # type: ignore[assignment]
        assert user and (user.name, user.workspace) == ("ann", workspace)
        assert users.get("ann", workspace) == user
        assert users.by_code(users.new_code(user.account)) == user
        assert [known.name for known in users.all(workspace)] == ["ann"]
    assert users.by_password("ann", "of nobody, really") is None
    acme = users.get("ann", "acme")
    assert acme
    sessions = Sessions(state)
    token = sessions.begin(acme, "browser")
    found = sessions.find(token)
    assert found and found.user == acme
    users.set_role(acme.account, "editor")
    users.remove(acme.account)
    assert users.get("ann", "acme") is None and sessions.find(token) is None
    others = [users.get("ann", workspace) for workspace in ("zoo", "park")]
    assert [user.role for user in others if user] == ["viewer", "viewer"]


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
