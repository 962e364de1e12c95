"""The clock is set: what happens then on the whole service is in tests/e2e/test_clock_steps.py."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import DOUBT_SECONDS, FILE, LONG_SECONDS, STEP_SECONDS, Clock
from tests.support.patience import until

START = 1_800_000_000.0
HOUR, YEARS = 3_600.0, 14 * 365 * 86_400.0


class FakeTime:
    """Both clocks of a system: `pass_` time, or `set` one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.booted = START, 1_000.0
        monkeypatch.setattr("app.clock.time.time", lambda: self.wall)
        monkeypatch.setattr("app.clock.time.clock_gettime", lambda _: self.booted)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.booted += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


def test_time_passes_and_a_time_service_adjusts_it(fake: FakeTime) -> None:
    watched = Clock()
    for _ in range(5_000):
        fake.pass_(1)
        fake.wall += 0.1  # 500 s in all, which would be a step at once
        watched.check()
        assert not watched.doubtful and watched.trouble == ""


@pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR, YEARS, -YEARS])
def test_a_step_is_doubted_until_the_clock_is_right_again(fake: FakeTime, step: float) -> None:
    watched = Clock()
    fake.wall += step
    watched.check()
    assert watched.doubtful
    assert ("ahead by" if step > 0 else "back by") in watched.trouble
    fake.pass_(DOUBT_SECONDS / 2)
    watched.check()
    assert watched.doubtful
    fake.wall -= step
    watched.check()
    assert not watched.doubtful


def test_a_step_that_stays_is_believed_in_the_end(fake: FakeTime) -> None:
    watched = Clock()
    fake.wall += YEARS
    watched.check()
    fake.pass_(DOUBT_SECONDS + 1)
    watched.check()
    assert not watched.doubtful
    fake.wall -= YEARS  # now this is a step
    watched.check()
    assert watched.doubtful and "back by 5,110 days" in watched.trouble


def test_a_second_step_begins_the_hour_again(fake: FakeTime) -> None:
    watched = Clock()
    fake.wall += 2 * HOUR
    watched.check()
    fake.pass_(DOUBT_SECONDS - 1)
    fake.wall += 2 * HOUR
    watched.check()
    fake.pass_(10)
    watched.check()
    assert watched.doubtful and "ahead by 4.0 hours" in watched.trouble


@pytest.mark.parametrize(
    ("stopped", "doubtful", "trouble"),
    [
        (1.0, False, ""),
        (LONG_SECONDS - 1, False, ""),
        (LONG_SECONDS + 1, True, ""),  # it may have been stopped for that long
        (YEARS, True, ""),
        (-STEP_SECONDS / 2, False, ""),
        (-3 * HOUR, True, "back by 3.0 hours"),
    ],
)
def test_a_start_is_compared_with_the_last_run(
    fake: FakeTime, stopped: float, doubtful: bool, trouble: str
) -> None:
    watched = Clock()
    watched.compare(START - stopped)
    watched.check()
    assert (watched.doubtful, trouble in watched.trouble) == (doubtful, True)
    assert bool(watched.trouble) == bool(trouble)
    if stopped < 0:
        fake.wall -= stopped  # it is right again
        watched.check()
        assert not watched.doubtful


def test_without_a_last_run_the_clock_is_believed(fake: FakeTime) -> None:
    watched = Clock()
    watched.compare(0)
    watched.check()
    assert not watched.doubtful


@given(st.lists(st.tuples(st.floats(0, 7_200), st.floats(-1e9, 1e9)), max_size=20))
def test_it_is_doubtful_for_an_hour_after_any_step_and_no_longer(
    steps: list[tuple[float, float]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeTime(patch)
        watched, last = Clock(), -DOUBT_SECONDS
        for passed, step in steps:
            fake.pass_(passed)
            watched.check()
            fake.wall += step
            watched.check()
            if step:  # small ones add up while the clock is doubtful
                last = fake.booted
            if watched.doubtful:
                assert fake.booted - last <= DOUBT_SECONDS
        fake.pass_(DOUBT_SECONDS + 1)
        watched.check()
        assert not watched.doubtful


def test_the_file_has_the_time_of_the_last_run(tmp_path: Path, fake: FakeTime) -> None:
    async def run(watched: Clock) -> None:
        task = asyncio.create_task(watched.run(tmp_path))
        await until((tmp_path / FILE).exists)
        task.cancel()

    asyncio.run(run(Clock()))
    assert float((tmp_path / FILE).read_text()) == START
    (tmp_path / FILE).write_text("damaged")
    asyncio.run(run(Clock()))
