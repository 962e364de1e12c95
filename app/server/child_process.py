"""Runs a process of the service's own, which ends when its standard input does."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

STOP_SECONDS = 15.0  # for what is under way


@asynccontextmanager
async def child_process(
    module: str, *arguments: str, env: Mapping[str, str], last_words: bytes = b""
) -> AsyncIterator[Process]:
    """Run `python -m module` as long as the block; `last_words` are sent to it at the end.

    If this process is killed, that one sees its standard input end without them.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=PIPE,
        env={**os.environ, **env},
        start_new_session=True,  # a terminal's Ctrl-C is for the service alone
    )
    try:
        yield process
    finally:
        await _stop(process, last_words)


async def _stop(process: Process, last_words: bytes) -> None:
    assert process.stdin  # noqa: S101
    with suppress(OSError, RuntimeError):  # RuntimeError is uvloop's: it has ended already
        process.stdin.write(last_words)
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
