"""Journal and loader through any life: what was acknowledged is in ClickHouse, once."""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from app.ingest.loader import Loader
from app.model.ids import new_id
from app.model.records import Hit, encode, now_ms
from app.storage.clickhouse import Storage, StorageError
from app.storage.journal import Journal
from app.storage.journal_segments import OPEN, SEALED, adopt_orphans, sealed, waiting_segments
from tests.support.torture import LONG, longer

EXAMPLES = 3000 if LONG else 200


class LostAnswer(Storage):
    """ClickHouse keeps what it is sent, but the answer to the second insert never arrives."""

    def __init__(self, storage: Storage, answers: int) -> None:
        self._storage, self._answers = storage, answers

    @property
    def embedded(self) -> bool:
        return self._storage.embedded

    def insert(self, table: str, lines: bytes, token: str) -> None:
        self._storage.insert(table, lines, token)
        self._answers -= 1
        if self._answers < 0:
            raise StorageError("the connection was reset")


class Life(RuleBasedStateMachine):
    """One folder, one process after the other."""

    storage: Storage
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.newsletter = int.from_bytes(os.urandom(7), "big")
        self.folder = Path(tempfile.mkdtemp())
        self.journal: Journal | None = None
        self.acknowledged: set[str] = set()

    @precondition(lambda self: self.journal is None)
    @rule(sync_ms=st.sampled_from([0, 100]))
    def start(self, sync_ms: int) -> None:
        self.journal = Journal(self.folder, sync_ms)

    @precondition(lambda self: self.journal is not None)
    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        assert self.journal
        journal = self.journal
        messages = [new_id().hex() for _ in range(count)]

        async def answer() -> None:
            await asyncio.gather(*(journal.write(self.line(message)) for message in messages))

        self.loop.run_until_complete(answer())
        self.acknowledged.update(messages)

    @precondition(lambda self: self.journal is not None)
    @rule()
    def seal(self) -> None:
        assert self.journal
        journal = self.journal

        async def retire() -> None:
            journal._retire()
            while journal._retired or journal._syncing:
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(retire())

    @precondition(lambda self: self.journal is not None)
    @rule()
    def end(self) -> None:
        assert self.journal
        self.loop.run_until_complete(self.journal.close())
        self.journal = None

    @precondition(lambda self: self.journal is not None)
    @rule(torn=st.booleans(), size=st.integers(1, 200))
    def crash(self, torn: bool, size: int) -> None:
        """kill -9: the kernel closes the files, nobody renames them; the last line may be torn."""
        assert self.journal
        pending = asyncio.all_tasks(self.loop)
        for task in pending:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        own = [self.journal._segment, *self.journal._retired]
        for segment in own:
            if segment:
                if torn:
                    os.write(segment.fd, self.line(new_id().hex())[:size].rstrip(b"\n"))
                os.close(segment.fd)
        self.journal = None

    @rule()
    def adopt(self) -> None:
        """By another process; what is being written must not be touched."""
        adopt_orphans(self.folder)

    @rule()
    def load(self) -> None:
        Loader(self.folder, self.storage).load_all()

    @rule()
    def load_twice(self) -> None:
        """As if deleting the segment had not reached the disk."""
        paths = sealed(self.folder)
        copies = [shutil.copy(path, path.with_suffix(".copy")) for path in paths]
        Loader(self.folder, self.storage).load_all()
        for path, copy in zip(paths, copies, strict=True):
            Path(copy).rename(path)

    @rule(answers=st.integers(0, 2))
    def load_without_answer(self, answers: int) -> None:
        waiting = sealed(self.folder)
        try:
            Loader(self.folder, LostAnswer(self.storage, answers)).load_all()
        except StorageError:
            assert set(sealed(self.folder)) & set(waiting)

    def teardown(self) -> None:
        if self.journal:
            self.crash(torn=False, size=1)
        time.sleep(0.001)
        adopt_orphans(self.folder)
        Loader(self.folder, self.storage).load_all()
        assert not list(self.folder.glob("*" + OPEN)) and not sealed(self.folder)
        rows = self.storage.query(
            "SELECT lower(replaceAll(toString(message), '-', '')) AS message, sum(sign) AS n"
            " FROM hits WHERE newsletter = {newsletter:UInt64} GROUP BY message",
            {"newsletter": self.newsletter},
        )
        assert {row["message"]: row["n"] for row in rows} == dict.fromkeys(self.acknowledged, 1)
        shutil.rmtree(self.folder)

    def line(self, message: str) -> bytes:
        return encode(Hit("open", now_ms(), "default", self.newsletter, message, 7))


@longer
def test_no_life_loses_or_doubles_a_hit(storage: Storage) -> None:
    with asyncio.Runner() as runner:
        Life.storage, Life.loop = storage, runner.get_loop()
        run_state_machine_as_test(
            Life, settings=settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
        )


def test_what_is_sealed_while_it_is_looked_at_is_found(tmp_path: Path) -> None:
    """`lag` took it for loaded: the journal seemed empty while a segment waited."""
    for name, content in (("a.open", b"1\n"), ("b.seg", b"22\n"), ("c.open", b"333\n")):
        (tmp_path / name).write_bytes(content)

    def look(path: Path) -> int:
        if path.suffix == OPEN:
            path.rename(path.with_suffix(SEALED))
        if path.name == "b.seg":
            path.unlink()  # loaded
        return path.stat().st_size

    assert [(path.name, size) for path, size in waiting_segments(tmp_path, look)] == [
        ("a.seg", 2),
        ("c.seg", 4),
    ]
