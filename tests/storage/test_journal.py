import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.storage import journal as journal_module
from app.storage.journal import Journal, JournalError
from app.storage.journal_segments import (
    OPEN,
    SEALED,
    adopt_orphans,
    claim,
    sealed,
    with_footer,
    without_footer,
)
from app.tasks import Tasks
from tests.support.patience import until


@asynccontextmanager
async def running(folder: Path, sync_ms: int = 20, **more: int) -> AsyncIterator[Journal]:
    journal = Journal(folder, sync_ms, **more)
    journal.start(Tasks())
    try:
        yield journal
    finally:
        await journal.close()


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        await test

    asyncio.run(whole())


def lines_of(folder: Path) -> list[bytes]:
    """Sorted, since segments of one millisecond have no order."""
    return sorted(
        line
        for path in sealed(folder)
        for line in without_footer(path.read_bytes())[0].splitlines(True)
    )


def test_a_line_is_in_the_file_when_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEAL_AFTER_SECONDS", 3600)

    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"one\n")
            (segment,) = tmp_path.glob("*" + OPEN)
            assert segment.read_bytes() == b"one\n"

    run(test())


def test_a_quiet_segment_is_sealed_and_closing_seals_the_rest(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"one\n")
            await until(lambda: sealed(tmp_path))
            await journal.write(b"two\n")
        assert lines_of(tmp_path) == [b"one\n", b"two\n"]
        assert len(sealed(tmp_path)) == 2
        assert not list(tmp_path.glob("*" + OPEN))
        with pytest.raises(JournalError, match="closed"):
            await journal.write(b"three\n")

    run(test())


def test_lines_that_keep_coming_are_sealed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line after a pause waits SEAL_AFTER_SECONDS only, those that follow a period."""
    monkeypatch.setattr(journal_module, "SEAL_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(journal_module, "SEAL_PERIOD_SECONDS", 3600)

    async def test() -> None:
        async with running(tmp_path, 1) as journal:
            await journal.write(b"one\n")
            await until(lambda: sealed(tmp_path))
            await journal.write(b"two\n")
            await asyncio.sleep(0.1)
            assert len(sealed(tmp_path)) == 1
            monkeypatch.setattr(journal_module, "SEAL_PERIOD_SECONDS", 0)
            await until(lambda: len(sealed(tmp_path)) == 2)
        assert lines_of(tmp_path) == [b"one\n", b"two\n"]

    run(test())


def test_a_full_segment_is_sealed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(journal_module, "SEAL_AFTER_SECONDS", 3600)

    async def test() -> None:
        lines = [b"%040d\n" % number for number in range(30)]
        async with running(tmp_path) as journal:
            for line in lines:
                await journal.write(line)
        assert lines_of(tmp_path) == lines
        assert len(sealed(tmp_path)) == 10

    run(test())


def test_with_sync_0_the_future_ends_after_fdatasync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        size = os.fstat(fd).st_size
        time.sleep(0.02)
        real(fd)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def test() -> None:
        async with running(tmp_path, sync_ms=0) as journal:

            async def one(number: int) -> None:
                await journal.write(b"%04d\n" % number)
                assert synced and synced[-1] >= 5

            await asyncio.gather(*(one(number) for number in range(200)))
            assert synced[-1] == 1000
            assert len(synced) < 10  # many answers share one commit

    run(test())


def test_the_periodic_sync_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(journal_module, "SEAL_AFTER_SECONDS", 3600)

    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"one\n")
            await until(lambda: synced)
            await asyncio.sleep(0.1)
            assert len(synced) == 1  # nothing new, nothing to sync

    run(test())


def test_lines_of_one_turn_share_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return real(fd, data)

    async def test() -> None:
        async with running(tmp_path) as journal:
            monkeypatch.setattr(os, "write", write)
            await asyncio.gather(*(journal.write(b"%d\n" % n) for n in range(50)))
            monkeypatch.undo()
        assert writes == [b"".join(b"%d\n" % n for n in range(50))]

    run(test())


def test_who_is_cancelled_takes_nobody_with_him(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as journal:

            async def one(line: bytes) -> str:
                await journal.write(line)
                return "kept"

            leaving = asyncio.create_task(one(b"one\n"))
            staying = asyncio.create_task(one(b"two\n"))
            await asyncio.sleep(0)
            leaving.cancel()
            assert await staying == "kept"
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert lines_of(tmp_path) == [b"one\n", b"two\n"]

    run(test())


def test_a_disk_that_loses_what_it_took_ends_the_segment_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEAL_AFTER_SECONDS", 3600)

    def fdatasync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def test() -> None:
        async with running(tmp_path, sync_ms=0) as journal:
            with monkeypatch.context() as broken:
                broken.setattr(os, "fdatasync", fdatasync)
                await journal.write(b"one\n")
                assert "fdatasync" in journal.trouble
                await until(lambda: lines_of(tmp_path) == [b"one\n"])
            await journal.write(b"two\n")
            await until(lambda: not journal.trouble)
        assert lines_of(tmp_path) == [b"one\n", b"two\n"]

    run(test())


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "disk_error")]
)
def test_a_refusing_disk_keeps_nothing_by_halves_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", 0)
    real = os.write
    full = False

    def write(fd: int, data: bytes) -> int:
        if not full:
            return real(fd, data)
        if len(data) > 3:
            return real(fd, data[:3])  # part of it fits, then no more
        raise OSError(code, os.strerror(code))

    async def test() -> None:
        nonlocal full
        async with running(tmp_path) as journal:
            await journal.write(b"before\n")
            monkeypatch.setattr(os, "write", write)
            full = True
            for _ in range(3):
                with pytest.raises(JournalError, match="journal") as caught:
                    await journal.write(b"during\n")
                assert caught.value.reason == reason
            assert journal.trouble
            full = False
            await journal.write(b"after\n")
            await until(lambda: not journal.trouble)
        assert lines_of(tmp_path) == [b"after\n", b"before\n"]

    run(test())


def test_the_disk_cap_refuses_until_the_loader_has_caught_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path, max_bytes=20) as journal:
            await journal.write(b"0123456789\n")
            with pytest.raises(JournalError, match="MAILWAKE_JOURNAL_MAX_MB") as caught:
                await journal.write(b"0123456789\n")
            assert caught.value.reason == "disk_cap"
            await until(lambda: sealed(tmp_path))
            sealed(tmp_path)[0].unlink()
            await until(lambda: journal.backlog == (0, 0))
            await journal.write(b"0123456789\n")
            await until(lambda: not journal.trouble)

    run(test())


def test_an_orphan_is_adopted_without_its_torn_line(tmp_path: Path) -> None:
    (tmp_path / ("a" + OPEN)).write_bytes(b"one\ntwo\nthr")
    (tmp_path / ("b" + OPEN)).write_bytes(b"torn")
    (tmp_path / ("c" + OPEN)).write_bytes(b"x" * 200_000 + b"\n" + b"y" * 200_000)
    adopted = adopt_orphans(tmp_path)
    assert [path.name for path in adopted] == ["a" + SEALED, "c" + SEALED]
    assert adopted[0].read_bytes() == b"one\ntwo\n"
    assert adopted[1].stat().st_size == 200_001
    assert not list(tmp_path.glob("*" + OPEN))


def test_an_orphan_is_on_the_disk_before_it_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader may take it at once, and a power failure must not change what is half loaded."""
    steps: list[str] = []

    def step(name: str) -> Callable[..., None]:
        return lambda *_: steps.append(name)

    (tmp_path / ("a" + OPEN)).write_bytes(b"one\n")
    monkeypatch.setattr("os.fdatasync", step("content"))
    monkeypatch.setattr("app.storage.journal_segments.sync_folder", step("name"))
    monkeypatch.setattr(Path, "rename", step("sealed"))
    adopt_orphans(tmp_path)
    assert steps == ["content", "name", "sealed"]


def test_a_segment_that_lives_is_no_orphan(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"mine\n")
            assert adopt_orphans(tmp_path) == []
            await journal.write(b"too\n")
        assert lines_of(tmp_path) == [b"mine\n", b"too\n"]

    run(test())


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ("a" + SEALED)
    path.write_bytes(b"one\n")
    with claim(path) as first, claim(path) as second:
        assert first is not None
        assert second is None
    with claim(path) as third:
        assert third is not None
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with claim(tmp_path / "gone") as none:
        assert none is None


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file"):
        Journal(tmp_path / "file" / "journal")


def test_the_last_part_is_for_hits(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal(tmp_path, max_bytes=1_000)
        journal.start(Tasks())
        await journal.write(b"x" * 899 + b"\n")
        journal.check_room()
        await journal.write(b"a hit\n")
        with pytest.raises(JournalError, match="kept for hits") as refusal:
            journal.check_room()
        assert refusal.value.reason == "disk_cap"
        await journal.write(b"another hit\n")
        await journal.close()

    asyncio.run(main())


def test_a_segment_and_its_name_are_on_the_disk_before_the_first_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SYNC_MS=0; a folder's fsync puts the names of its files on the disk."""
    calls: list[str] = []
    for name in ("fdatasync", "fsync"):
        real = getattr(os, name)

        def recorded(fd: int, name: str = name, real: Callable[[int], None] = real) -> None:
            real(fd)
            calls.append(f"{name} {Path(f'/proc/self/fd/{fd}').readlink().suffix}")

        monkeypatch.setattr(os, name, recorded)

    async def test() -> None:
        async with running(tmp_path / "journal", sync_ms=0) as journal:
            await journal.write(b"one\n")
            assert calls == ["fdatasync .open", "fsync "]
            await journal.write(b"two\n")
            assert calls[2:] == ["fdatasync .open"]
        assert calls[3:] == ["fdatasync .open"]  # the footer, before the segment is sealed

    run(test())


def test_a_sealed_segment_carries_a_checksum_of_its_lines(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"one\ntwo\n")
            await journal.write(b"three\n")

    run(test())
    (path,) = sealed(tmp_path)
    content, lines = path.read_bytes(), b"one\ntwo\nthree\n"
    assert without_footer(content) == (lines, True)
    assert content == with_footer(lines)
    assert without_footer(lines) == (lines, True)  # one of an earlier version
    for position in range(len(lines)):
        damaged = bytearray(content)
        damaged[position] ^= 4
        assert without_footer(bytes(damaged)) == (bytes(damaged[: len(lines)]), False)
    assert without_footer(content[4:]) == (lines[4:], False)  # a line is missing
    assert Journal(tmp_path).lag().lines == 3


def test_what_a_broken_disk_may_not_have_kept_gets_no_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fdatasync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def test() -> None:
        async with running(tmp_path) as journal:
            await journal.write(b"one\n")
            monkeypatch.setattr(os, "fdatasync", fdatasync)
            await until(lambda: sealed(tmp_path))
            assert "Input/output" in journal.trouble

    run(test())
    assert [path.read_bytes() for path in sealed(tmp_path)] == [b"one\n"]
