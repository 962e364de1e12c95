from pathlib import Path

import pytest

from app.auth import devices as devices_module
from app.auth.devices import Devices
from app.auth.users import Users
from app.storage.state_db import open_state


def test_a_device_is_known_for_its_own_user_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = open_state(tmp_path)
    users, devices = Users(state), Devices(state)
    users.add("ann", "default", "viewer")
    users.add("bob", "default", "viewer")
    token = devices.add("ann")
    assert devices.known(token, "ann")
    assert devices.known(token, "ann") not in token  # a hash
    for other, name in ((token, "bob"), ("", "ann"), (token[:-1], "ann"), ("\udcff", "ann")):
        assert devices.known(other, name) == ""
    state.dispose()
    assert not any(token.encode() in path.read_bytes() for path in tmp_path.iterdir())
    monkeypatch.setattr(devices_module, "DEVICE_SECONDS", -1)
    assert devices.known(devices.add("bob"), "bob") == ""
    users.remove("ann")
    assert devices.known(token, "ann") == ""


def test_users_of_one_name_have_devices_of_their_own(tmp_path: Path) -> None:
    """Also once the workspace that had the name first has removed its user."""
    state = open_state(tmp_path)
    users, devices = Users(state), Devices(state)
    first, second = users.add("ann", "acme", "viewer"), users.add("ann", "zoo", "viewer")
    tokens = [devices.add(user.account) for user in (first, second)]
    assert all(devices.known(token, "ann") for token in tokens)
    users.remove(first.account)
    assert [bool(devices.known(token, "ann")) for token in tokens] == [False, True]
    assert devices.known(devices.add(second.account), "ann")


def test_a_user_has_a_number_of_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path)
    Users(state).add("ann", "default", "viewer")
    Users(state).add("bob", "default", "viewer")
    devices = Devices(state)
    monkeypatch.setattr(devices_module, "MAX_DEVICES", 3)
    others = devices.add("bob")
    tokens = [devices.add("ann") for _ in range(5)]
    assert [bool(devices.known(token, "ann")) for token in tokens] == [False] * 2 + [True] * 3
    assert devices.known(others, "bob")
