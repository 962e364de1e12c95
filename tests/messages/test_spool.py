import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.auth.quotas import SpoolRoom
from app.messages import spool as spool_module
from app.messages.spool import FREE_BYTES, MAX_RATIO, READ_BYTES, Spool
from tests.support.patience import until


async def everything(spool: Spool) -> bytes:
    return b"".join([part async for part in spool.read()])


@given(parts=st.lists(st.binary(max_size=50), max_size=6), early=st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_by_early_and_late_readers(
    tmp_path: Path, parts: list[bytes], early: bool
) -> None:
    async def main() -> bytes:
        spool = Spool(tmp_path)
        reader = asyncio.create_task(everything(spool)) if early else None
        for part in parts:
            await spool.write(part, 0)
            await asyncio.sleep(0)
        spool.end()
        written = await (reader or everything(spool))
        spool.close()
        return written

    assert asyncio.run(main()) == b"".join(parts)


def test_a_reader_gets_a_part_before_the_writer_has_ended(tmp_path: Path) -> None:
    async def main() -> None:
        spool = Spool(tmp_path)
        reader = spool.read()
        for part in (b"one", b"two"):
            await spool.write(part, 0)
            assert await anext(reader) == part
        waiting = asyncio.ensure_future(anext(reader, b"end"))
        await asyncio.sleep(0)
        assert not waiting.done()
        spool.end()
        assert await waiting == b"end"
        spool.close()

    asyncio.run(main())


def test_memory_holds_one_piece_at_a_time(tmp_path: Path) -> None:
    async def main() -> list[int]:
        spool = Spool(tmp_path)
        await spool.write(bytes(2 * READ_BYTES + 1), 0)
        spool.end()
        sizes = [len(part) async for part in spool.read()]
        spool.close()
        return sizes

    assert asyncio.run(main()) == [READ_BYTES, READ_BYTES, 1]


def test_the_file_has_no_name_and_the_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"

    async def main() -> None:
        spool = Spool(folder)
        await spool.write(b"x", 0)
        assert list(folder.iterdir()) == []  # so that a crash leaves nothing
        spool.close()

    asyncio.run(main())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_writer_waits_for_a_reader_that_has_much_to_read(tmp_path: Path) -> None:
    """Bytes that were received make more room; what is read makes room too."""

    async def main() -> None:
        room = SpoolRoom()
        spool = Spool(tmp_path, room)
        await spool.write(bytes(FREE_BYTES), 0)
        more = READ_BYTES // MAX_RATIO + 1
        await spool.write(bytes(READ_BYTES), more)
        writing = asyncio.create_task(spool.write(bytes(READ_BYTES), more))
        await asyncio.sleep(0)
        assert not writing.done()
        assert room.used_bytes == FREE_BYTES + READ_BYTES
        reader = spool.read()
        await anext(reader)
        await until(writing.done)
        assert room.used_bytes == FREE_BYTES + READ_BYTES
        spool.close()
        assert room.used_bytes == 0

    asyncio.run(main())


def test_spools_of_a_workspace_share_its_room_and_each_gets_on(tmp_path: Path) -> None:
    async def main() -> None:
        room = SpoolRoom(2 * READ_BYTES)
        slow, quick = Spool(tmp_path, room), Spool(tmp_path, room)
        await slow.write(bytes(2 * READ_BYTES), READ_BYTES)
        await quick.write(b"one", 0)  # has nothing to be read yet
        writing = asyncio.create_task(quick.write(b"two", 0))
        await asyncio.sleep(0)
        assert not writing.done()
        slow.close()  # its client has left
        await until(writing.done)
        quick.end()
        assert await everything(quick) == b"onetwo"
        quick.close()
        assert room.used_bytes == 0

    asyncio.run(main())


def test_a_writer_that_waits_ends_when_the_spool_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        spool = Spool(tmp_path, SpoolRoom(READ_BYTES))
        writing = asyncio.create_task(spool.write(bytes(3 * READ_BYTES), 0))
        await asyncio.sleep(0)
        assert not writing.done()
        spool.close()
        await until(writing.done)
        await writing

    asyncio.run(main())


def test_what_is_read_is_not_on_the_disk_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that is always a little behind keeps neither old files nor a growing one."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 4 * READ_BYTES)

    def held() -> int:
        """Returns the bytes of the nameless files in the folder."""
        files = Path("/proc/self/fd").iterdir()
        mine = [file for file in files if str(tmp_path) in os.path.realpath(file)]
        return sum(file.stat().st_size for file in mine)

    async def main() -> None:
        spool = Spool(tmp_path)
        await spool.write(bytes(READ_BYTES), 0)
        reader = spool.read()
        for number in range(40):
            await spool.write(bytes([number]) * READ_BYTES, 0)
            part = await anext(reader)
            while len(part) < READ_BYTES:
                part += await anext(reader)
            assert 0 < held() <= 6 * READ_BYTES
        await anext(reader)
        assert held() == 0
        spool.close()

    asyncio.run(main())
