import asyncio

import pytest

from app.auth.quotas import Quota, QuotaError, SpoolRoom
from app.settings.load import load


def test_requests_are_limited_and_come_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("app.auth.quotas.time.monotonic", lambda: now)
    quota = Quota(requests_per_minute=30)
    for _ in range(30):
        quota.admit()
    with pytest.raises(QuotaError, match="30 requests a minute") as refusal:
        quota.admit()
    assert refusal.value.retry_seconds == 2
    now += refusal.value.retry_seconds
    quota.admit()
    with pytest.raises(QuotaError):
        quota.admit()
    now += 3_600  # unused requests do not accumulate beyond a minute's
    for _ in range(30):
        quota.admit()
    with pytest.raises(QuotaError):
        quota.admit()
    assert quota.refused == {"requests": 3}


def test_streams_are_counted_while_they_are_open() -> None:
    quota = Quota(streams=2)
    with quota.stream():
        quota.check_streams()
        with quota.stream(), pytest.raises(QuotaError, match="2 open streams"):
            quota.check_streams()
        quota.check_streams()
    assert quota.refused == {"streams": 1}


def test_templates_have_a_number_and_a_size() -> None:
    quota = Quota(templates=2, disk_mb=1)
    quota.check_templates(2, 2**20)
    with pytest.raises(QuotaError, match="may store 2 templates"):
        quota.check_templates(3, 0)
    with pytest.raises(QuotaError, match="may have 1 MB"):
        quota.check_templates(1, 2**20 + 1)


def test_zero_is_no_limit() -> None:
    quota = Quota()
    for _ in range(1_000):
        quota.admit()
    quota.check_templates(10**9, 10**15)
    with quota.stream():
        quota.check_streams()
    assert not quota.refused


def test_the_settings_quotas() -> None:
    quota = Quota.of(load(quota_requests=1, quota_templates=7, quota_disk_mb=3))
    assert (quota.max_templates, quota.room.max_bytes) == (7, 3 * 2**20)
    quota.admit()
    with pytest.raises(QuotaError):
        quota.admit()


def test_everything_that_waits_for_room_is_woken() -> None:
    async def main() -> list[None]:
        room = SpoolRoom()
        waiting = [asyncio.create_task(room.changed()) for _ in range(3)]
        await asyncio.sleep(0)
        room.notify()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [None] * 3
