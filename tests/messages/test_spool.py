import asyncio
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.messages.spool import READ_BYTES, Spool


async def everything(spool: Spool) -> bytes:
    return b"".join([part async for part in spool.read()])


@given(parts=st.lists(st.binary(max_size=50), max_size=6), early=st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_by_early_and_late_readers(
    tmp_path: Path, parts: list[bytes], early: bool
) -> None:
    async def main() -> tuple[bytes, bytes]:
        spool = Spool(tmp_path)
        reader = asyncio.create_task(everything(spool)) if early else None
        for part in parts:
            await spool.write(part)
            await asyncio.sleep(0)
        await spool.end()
        late = await everything(spool)
        first = await reader if reader else late
        spool.close()
        return first, late

    assert asyncio.run(main()) == (b"".join(parts), b"".join(parts))


def test_a_reader_gets_a_part_before_the_writer_has_ended(tmp_path: Path) -> None:
    async def main() -> None:
        spool = Spool(tmp_path)
        reader = spool.read()
        for part in (b"one", b"two"):
            await spool.write(part)
            assert await anext(reader) == part
        waiting = asyncio.ensure_future(anext(reader, b"end"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await spool.end()
        assert await waiting == b"end"
        spool.close()

    asyncio.run(main())


def test_memory_holds_one_piece_at_a_time(tmp_path: Path) -> None:
    async def main() -> list[int]:
        spool = Spool(tmp_path)
        await spool.write(bytes(2 * READ_BYTES + 1))
        await spool.end()
        sizes = [len(part) async for part in spool.read()]
        spool.close()
        return sizes

    assert asyncio.run(main()) == [READ_BYTES, READ_BYTES, 1]


def test_the_file_has_no_name_and_the_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"

    async def main() -> None:
        spool = Spool(folder)
        await spool.write(b"x")
        assert list(folder.iterdir()) == []  # so that a crash leaves nothing
        spool.close()

    asyncio.run(main())
    assert folder.stat().st_mode & 0o777 == 0o700
