"""Runs the stand-in: `python -m tests.support.standin`."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from tests.support import standin
from tests.support.standin.endpoint import Endpoint
from tests.support.standin.engine import LoggingEngine


async def main(path: Path, user: str, password: str, ports: tuple[int, int]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    engine = LoggingEngine(path)
    endpoint = Endpoint(engine, user, password, ports)
    await endpoint.data.up()
    await endpoint.control.up()
    started = {"port": endpoint.data.port, "control": endpoint.control.port}
    print(json.dumps(started), flush=True)
    await stopped.wait()
    await endpoint.data.down()
    await endpoint.control.down()
    engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.support.standin", description=standin.__doc__)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    asyncio.run(main(given.path, given.user, given.password, (given.port, given.control_port)))
