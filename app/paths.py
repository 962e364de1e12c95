"""Finds folders that are part of the distribution, and the service's socket in DATA_DIR."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent  # the package app
LOCAL_SOCKET = "local.sock"  # in DATA_DIR


def resource(name: str) -> Path:
    """Returns the folder `static`, `clickhouse` or `docs`.

    It is next to `app` in a checkout, and inside it in a wheel.
    """
    in_checkout = ROOT.parent / name
    return in_checkout if in_checkout.is_dir() else ROOT / name


def local_socket(folder: Path, name: str = LOCAL_SOCKET) -> tuple[str, int]:
    """Returns the path of a Unix socket in DATA_DIR, and a descriptor to close after its use.

    A socket's path has at most 107 bytes (unix(7)), so it begins with the folder's descriptor.
    Raises OSError if the folder does not exist.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    short = Path(f"/proc/self/fd/{descriptor}")
    return str((short if short.exists() else folder) / name), descriptor
