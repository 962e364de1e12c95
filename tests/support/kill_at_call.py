r"""Runs `mailwake` and kills it with signal 9 within a call.

    python -m tests.support.kill_at_call \\
      app.storage.clickhouse:Storage.change 2 after -- erase a@example.com --yes

ends before or after the second call of that function. With `resume` in place of the email address
it continues what is open and requests nothing new.
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any

from app.cli import privacy
from app.cli.main import cli


def arm(place: str, number: int, when: str) -> None:
    """Make the function's `number`th call the process's last."""
    module, _, names = place.partition(":")
    *outer, name = names.split(".")
    owner: Any = import_module(module)
    for attribute in outer:
        owner = getattr(owner, attribute)
    original, calls = getattr(owner, name), 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    split = sys.argv.index("--")
    if "resume" in sys.argv:
        setattr(privacy, "begin", lambda erasures, *_: erasures.open()[0])  # noqa: B010
    arm(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    cli(sys.argv[split + 1 :])
