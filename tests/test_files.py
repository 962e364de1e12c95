"""Locks and files that are replaced whole, tried with real processes."""

import asyncio
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.files import leading, locked, make_private, write_private
from tests.support.patience import PATIENCE_SECONDS

HOLD = """
import sys
from pathlib import Path
from app.files import locked
with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path, how: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()


def test_a_lock_excludes_other_processes_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(path, shared=True, wait=False):
            pass
        process.send_signal(signal.SIGKILL)
        with locked(path):  # waits for the kernel to release it
            pass


def test_a_shared_lock_admits_others_that_share_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, "shared"):
        with locked(path, shared=True, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass


def test_a_lock_holds_among_threads_and_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), locked(path):
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        raise ZeroDivisionError
    with locked(path, wait=False) as fd:
        assert os.fstat(fd).st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_flags_decide_whether_a_missing_file_is_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none", flags=os.O_RDONLY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_leading_waits_without_blocking_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    order: list[str] = []

    async def lead() -> None:
        async with leading(path, 0.001):
            order.append("leads")

    async def main(process: subprocess.Popen[str]) -> None:
        task = asyncio.create_task(lead())
        for _ in range(5):
            await asyncio.sleep(0.002)
        order.append("waited")
        assert process.stdin
        process.stdin.close()
        await task

    with holder(path) as process:
        asyncio.run(main(process))
    assert order == ["waited", "leads"]
    with locked(path, wait=False):  # no longer held
        pass


def opened(path: Path) -> int:
    """Returns how many descriptors of this process are of a file."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += descriptor.readlink() == path
    return count


def test_cancelled_while_it_waits_it_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    async def main() -> None:
        async with leading(path, 0.001):
            before = opened(path)
            other = asyncio.create_task(leading(path, 0.001).__aenter__())
            await asyncio.sleep(0.005)
            other.cancel()
            with pytest.raises(asyncio.CancelledError):
                await other
            assert opened(path) == before == 1

    asyncio.run(main())


@given(content=st.binary(max_size=200))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_and_private(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    (tmp_path / "secret.new").write_bytes(b"left by a process that was killed")
    (tmp_path / "secret.new").chmod(0o644)
    write_private(path, content)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def rewrite(path: Path, started: multiprocessing.synchronize.Event) -> None:
    for number in range(100_000):
        write_private(path, b"%d" % (number % 10) * 10_000)
        started.set()


def test_a_reader_sees_a_whole_file_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    writer = context.Process(target=rewrite, args=(path, started))
    writer.start()
    assert started.wait(PATIENCE_SECONDS)
    for _ in range(50):
        content = path.read_bytes()
        assert len(content) == 10_000 and len(set(content)) == 1
    writer.kill()
    writer.join()
    content = path.read_bytes()
    assert len(content) == 10_000 and len(set(content)) == 1
    write_private(path, b"next")  # the killed writer's partial file is no obstacle
    assert path.read_bytes() == b"next"


def test_a_folder_of_our_own_becomes_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    assert not make_private(folder)
    for mode in (0o755, 0o750, 0o701):
        folder.chmod(mode)
        assert make_private(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o1755, 0o702])
def test_a_shared_folder_is_left_as_it_is(tmp_path: Path, mode: int) -> None:
    """Such as /tmp, which must not become one user's."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PermissionError, match="shared with other users"):
        make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
