"""Runs a data folder's engine: `python -m app.storage.engine DATA_DIR`, until its input ends."""

import fcntl
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from app.storage.engine import LOCK, STOP

# Added to the share of memory in a thousand by which the kernel chooses what to kill (proc(5)):
# the engine rather than the process that answers recipients.
OOM_SCORE = "500"


def main(data_dir: Path) -> None:
    """Serve on the socket in DATA_DIR, once no other process does."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a container
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    opened, stopping = threading.Event(), threading.Event()
    threading.Thread(target=_follow_service, args=[opened, stopping], daemon=True).start()
    lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    opened.set()
    from app.storage.engine.serving import serve  # noqa: PLC0415  (who waits needs no memory for chDB)

    serve(data_dir, stopping)


def _follow_service(opened: threading.Event, stopping: threading.Event) -> None:
    """End with the service: at once if it was killed or nothing is open."""
    words = sys.stdin.buffer.read()
    if words != STOP or not opened.is_set():
        os._exit(words != STOP)
    stopping.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
