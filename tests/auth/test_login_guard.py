"""Patience with wrong passwords."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.auth import login_guard as throttles
from app.auth.login_guard import (
    FREE_TRIES,
    FREE_TRIES_OF_NAME,
    WAIT_SECONDS,
    LoginThrottle,
    ThrottledError,
    neighbourhood,
)
from app.storage.state_db import open_state
from app.storage.tables import login_failures


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def tries(throttle: LoginThrottle, address: str, name: str, count: int) -> None:
    for _ in range(count):
        throttle.check(address, name)
        throttle.wrong(address, name)


def test_wrong_passwords_make_an_address_wait(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = LoginThrottle(engine)
    tries(throttle, "a", "ann", FREE_TRIES)
    with pytest.raises(ThrottledError) as caught:
        throttle.check("a", "bob")
    assert 0 < caught.value.seconds <= WAIT_SECONDS + 1
    throttle.check("b", "ann")
    monkeypatch.setattr(throttles, "WAIT_SECONDS", 0)
    tries(throttle, "a", "ann", 1)


def test_wrong_passwords_from_many_addresses_make_a_name_wait(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES_OF_NAME):
        tries(throttle, str(number), "ann", 1)
    with pytest.raises(ThrottledError):
        throttle.check("elsewhere", "ann")
    throttle.check("elsewhere", "bob")
    throttle.right("x", "ann")
    throttle.check("elsewhere", "ann")


def test_whoever_has_an_ipv6_address_has_its_64_bits_of_them(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES):
        tries(throttle, f"2001:db8::{number:x}", "ann", 1)
    with pytest.raises(ThrottledError):
        throttle.check("2001:db8::ffff", "bob")
    throttle.check("2001:db8:0:1::1", "bob")
    assert neighbourhood("::ffff:192.0.2.7") == "192.0.2.7"


def test_processes_count_together(engine: Engine, tmp_path: Path) -> None:
    one, other = LoginThrottle(engine), LoginThrottle(open_state(tmp_path))
    for number in range(FREE_TRIES):
        tries((one, other)[number % 2], "192.0.2.7", f"name{number}", 1)
    for throttle in one, other:
        with pytest.raises(ThrottledError):
            throttle.check("192.0.2.7", "ann")
    one.right("192.0.2.7", "x")
    other.check("192.0.2.7", "ann")


def test_only_the_last_minute_is_remembered_and_nobody_can_be_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = LoginThrottle(engine)
    for number in range(10):
        throttle.wrong(f"192.0.2.{number}", "ann")
    monkeypatch.setattr(throttles, "WAIT_SECONDS", 0)
    throttle.wrong("192.0.2.77", "kim")
    with engine.connect() as connection:
        rows = connection.execute(select(login_failures)).fetchall()
    assert [row.tries for row in rows] == [1, 1]
    assert all(re.fullmatch("[0-9a-f]{64}", row.whose) for row in rows)
