"""Unix sockets in DATA_DIR: commands of this machine reach the service, and it its own processes.

The file system decides which users can connect: the socket has mode 0600 in a folder with mode 0700
(unix(7)), so only the service's own user and root can. No key and no signature gives this power.
"""

import os
import socket
from pathlib import Path

LOCAL_SOCKET = "local.sock"  # of the service


def address_of(folder: Path, name: str = LOCAL_SOCKET) -> tuple[str, int]:
    """Returns the path of a Unix socket in DATA_DIR, and a descriptor to close after its use.

    A socket's path has at most 107 bytes (unix(7)), so it begins with the folder's descriptor.
    Raises OSError if the folder does not exist.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    short = Path(f"/proc/self/fd/{descriptor}")
    return str((short if short.exists() else folder) / name), descriptor


def listen(folder: Path, name: str = LOCAL_SOCKET) -> socket.socket | None:
    """Listen on a socket in DATA_DIR, replacing one that a killed service left.

    It gets its name once it listens: a client that finds it can connect, and waits to be accepted.
    Returns None where the file system has no sockets: commands then need the service to be stopped.
    """
    address, folder_fd = address_of(folder, name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        partial = Path(f"{address}.new")
        partial.unlink(missing_ok=True)
        listener.bind(str(partial))
        listener.listen()
        partial.replace(address)
    except OSError:
        listener.close()
        return None
    finally:
        os.umask(before)
        os.close(folder_fd)
    return listener


def remove(folder: Path, name: str = LOCAL_SOCKET) -> None:
    """Remove a socket of DATA_DIR, when its process stops."""
    (folder / name).unlink(missing_ok=True)
