import asyncio
import gc
import sys
import threading

import pytest

from app.threads import INLINE_BYTES, SWITCH_SECONDS, favour_event_loop, offloaded
from tests.support.patience import PATIENCE_SECONDS


def where() -> int:
    return threading.get_ident()


def test_only_large_inputs_leave_the_event_loops_thread() -> None:
    async def main() -> tuple[int, int]:
        return await offloaded(INLINE_BYTES, where), await offloaded(INLINE_BYTES + 1, where)

    small, large = asyncio.run(main())
    assert small == threading.get_ident() != large


@pytest.mark.parametrize("size", [0, INLINE_BYTES + 1])
def test_arguments_results_and_errors_pass_through(size: int) -> None:
    assert asyncio.run(offloaded(size, int, "11", base=2)) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(offloaded(size, int, "x"))


def test_the_loop_runs_on_while_a_large_input_is_worked_on() -> None:
    release = threading.Event()

    async def main() -> bool:
        task = asyncio.create_task(offloaded(INLINE_BYTES + 1, release.wait, PATIENCE_SECONDS))
        await asyncio.sleep(0)
        release.set()  # never reached if the work blocked the loop
        return await task

    assert asyncio.run(main())


def test_threads_hand_over_quickly_and_modules_are_not_examined_for_garbage() -> None:
    before = sys.getswitchinterval()
    try:
        favour_event_loop()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
        assert gc.get_freeze_count() > 10_000
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()


def test_rewriting_leaves_threads_for_the_journal() -> None:
    """However much is rewritten, other work in threads goes on."""
    release = threading.Event()

    async def main() -> int:
        waiting = [
            asyncio.create_task(offloaded(INLINE_BYTES + 1, release.wait, PATIENCE_SECONDS))
            for _ in range(50)
        ]
        await asyncio.sleep(0)
        done = await asyncio.to_thread(int, "11")
        release.set()
        assert all(await asyncio.gather(*waiting))
        return done

    assert asyncio.run(main()) == 11
