"""Guesses of passwords are slowed down, and nobody is locked out by those of others."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from app.auth.devices import Devices
from app.auth.login_guard import (
    DELAY_SECONDS,
    FORGET_SECONDS,
    FREE_TRIES,
    FREE_TRIES_OF_ADDRESS,
    FREE_TRIES_OF_NAME,
    MAX_DELAY_SECONDS,
    MAX_WAIT_SECONDS,
    WAIT_SECONDS,
    LoginGuard,
    LoginThrottle,
    ThrottledError,
    neighbourhood,
)
from app.auth.users import Users
from app.storage.state_db import open_state
from app.storage.tables import login_failures

PASSWORD = "lanterns on the wake"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


@pytest.fixture(autouse=True)
def _one_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test run across the end of an hour."""
    monkeypatch.setattr(time, "time", Clock())


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_100.0

    def __call__(self) -> float:
        return self.now


def clock() -> Clock:
    assert isinstance(time.time, Clock)
    return time.time


def guess(throttle: LoginThrottle, address: str, name: str, count: int, device: str = "") -> None:
    for _ in range(count):
        throttle.check(address, name, device)
        throttle.wrong(address, name, device)


def wait(throttle: LoginThrottle, address: str, name: str, device: str = "") -> int:
    """Returns the seconds that a try must wait, 0 for none."""
    try:
        throttle.check(address, name, device)
    except ThrottledError as error:
        return error.seconds
    return 0


def test_a_name_from_one_address_waits_twice_as_long_each_time(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    guess(throttle, "192.0.2.1", "ann", FREE_TRIES)
    waits = []
    for _ in range(7):
        seconds = wait(throttle, "192.0.2.1", "ann")
        waits.append(seconds - 1)
        clock().now += seconds - 2
        assert wait(throttle, "192.0.2.1", "ann")
        clock().now += 2
        guess(throttle, "192.0.2.1", "ann", 1)
    assert waits == [min(WAIT_SECONDS * 2**n, MAX_WAIT_SECONDS) for n in range(7)]
    assert wait(throttle, "192.0.2.2", "ann") == wait(throttle, "192.0.2.1", "bob") == 0


def test_nobody_waits_for_a_clock_that_was_ahead(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    right = clock().now
    clock().now = right + 3 * 3600
    guess(throttle, "192.0.2.1", "ann", FREE_TRIES)
    assert wait(throttle, "192.0.2.1", "ann")
    clock().now = right
    assert wait(throttle, "192.0.2.1", "ann") == 0
    guess(throttle, "192.0.2.1", "ann", 1)  # counts as of now again
    assert 0 < wait(throttle, "192.0.2.1", "ann") <= MAX_WAIT_SECONDS + 1


def test_guesses_from_elsewhere_delay_the_right_user_and_never_lock_the_name(
    engine: Engine,
) -> None:
    throttle, delays = LoginThrottle(engine), []
    for number in range(400):
        guess(throttle, f"198.51.{number // 200}.{number % 200}", "ann", 1)
        assert wait(throttle, "192.0.2.1", "ann") == 0
        delays.append(throttle.delay("ann"))
    assert delays[: FREE_TRIES_OF_NAME - 1] == [0] * (FREE_TRIES_OF_NAME - 1)
    assert delays[FREE_TRIES_OF_NAME - 1] == DELAY_SECONDS
    assert delays[-1] == max(delays) == MAX_DELAY_SECONDS
    assert throttle.delay("bob") == 0


def test_the_right_user_gets_in_while_the_name_is_under_attack(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, throttle, devices = Users(engine), LoginThrottle(engine), Devices(engine)
    ann, slept = users.add("ann", "default", "viewer", PASSWORD), []
    for number in range(200):
        throttle.wrong(f"198.51.100.{number}", "ann")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def log_in(token: str) -> bool:
        checks = LoginGuard(users, throttle, devices)
        return await checks.check("ann", PASSWORD, "192.0.2.1", token) is not None

    monkeypatch.setattr(asyncio, "sleep", sleep)
    checks = LoginGuard(users, throttle, devices)
    token = checks.remember(ann, "")
    assert token and checks.remember(ann, token) == ""
    assert asyncio.run(log_in("")) and asyncio.run(log_in(token))
    assert slept == [MAX_DELAY_SECONDS, 0.0]


def test_ones_own_login_resets_nothing_of_others(engine: Engine) -> None:
    """Else whoever has an account could guess on, with a login of their own now and then."""
    throttle = LoginThrottle(engine)
    tries = 0
    while tries < FREE_TRIES_OF_ADDRESS:
        guess(throttle, "192.0.2.1", f"name{tries // 2}", 1)
        throttle.right("192.0.2.1", "mallory")
        tries += 1
    assert 0 < wait(throttle, "192.0.2.1", "ann") <= WAIT_SECONDS + 1
    guess(throttle, "192.0.2.2", "ann", FREE_TRIES)
    throttle.right("192.0.2.2", "mallory")
    assert wait(throttle, "192.0.2.2", "ann")
    throttle.right("192.0.2.2", "ann")
    assert wait(throttle, "192.0.2.2", "ann") == 0


def test_an_address_that_tried_many_names_waits_a_minute_between_two(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES_OF_ADDRESS):
        guess(throttle, "192.0.2.1", f"name{number}", 1)
    for number in range(5):
        assert wait(throttle, "192.0.2.1", "ann") == WAIT_SECONDS + 1
        clock().now += WAIT_SECONDS
        guess(throttle, "192.0.2.1", f"another{number}", 1)
    assert wait(throttle, "192.0.2.9", "ann") == 0


def test_a_known_device_is_spared_what_others_did_and_has_its_own_count(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES_OF_ADDRESS):
        guess(throttle, "192.0.2.1", f"name{number}", 1)
    for number in range(50):
        throttle.wrong(f"198.51.100.{number}", "ann")
    throttle.wrong("192.0.2.1", "ann")
    assert wait(throttle, "192.0.2.1", "ann") and throttle.delay("ann")
    assert wait(throttle, "192.0.2.1", "ann", "known") == throttle.delay("ann", "known") == 0
    guess(throttle, "192.0.2.1", "ann", FREE_TRIES, "known")
    for address in ("192.0.2.1", "203.0.113.5"):  # a stolen one is not better off elsewhere
        assert wait(throttle, address, "ann", "known") == WAIT_SECONDS + 1
    assert wait(throttle, "192.0.2.1", "ann", "another") == 0
    throttle.right("192.0.2.1", "ann", "known")
    assert wait(throttle, "192.0.2.1", "ann", "known") == 0
    assert wait(throttle, "192.0.2.1", "ann")


def test_whoever_has_an_ipv6_address_has_its_64_bits_of_them(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES):
        guess(throttle, f"2001:db8::{number:x}", "ann", 1)
    assert wait(throttle, "2001:db8::ffff", "ann")
    assert wait(throttle, "2001:db8:0:1::1", "ann") == 0
    assert neighbourhood("::ffff:192.0.2.7") == "192.0.2.7"


def test_processes_count_together(engine: Engine, tmp_path: Path) -> None:
    one, other = LoginThrottle(engine), LoginThrottle(open_state(tmp_path))
    for number in range(FREE_TRIES):
        guess((one, other)[number % 2], "192.0.2.7", "ann", 1)
    assert wait(one, "192.0.2.7", "ann") and wait(other, "192.0.2.7", "ann")
    one.right("192.0.2.7", "ann")
    assert wait(other, "192.0.2.7", "ann") == 0


def test_counts_end_after_an_hour_and_nobody_can_be_read(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    for number in range(FREE_TRIES_OF_NAME):
        throttle.wrong(f"192.0.2.{number}", "ann")
    with engine.connect() as connection:
        rows = connection.execute(select(login_failures)).fetchall()
    assert len(rows) == 2 * FREE_TRIES_OF_NAME + 1
    assert all(re.fullmatch("[0-9a-f]{64}", row.whose) for row in rows)
    assert throttle.delay("ann")
    clock().now += FORGET_SECONDS + 1
    assert throttle.delay("ann") == 0
    throttle.wrong("192.0.2.77", "kim")
    with engine.connect() as connection:
        assert [row.tries for row in connection.execute(select(login_failures))] == [1, 1, 1]


def test_a_count_of_any_height_is_a_wait(engine: Engine) -> None:
    throttle = LoginThrottle(engine)
    throttle.wrong("192.0.2.1", "ann")
    with engine.begin() as connection:
        connection.execute(update(login_failures).values(tries=10**9))
    assert wait(throttle, "192.0.2.1", "ann") == MAX_WAIT_SECONDS + 1
    assert throttle.delay("ann") == MAX_DELAY_SECONDS
