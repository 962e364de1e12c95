"""A Unix socket in DATA_DIR, on which commands of this machine reach the service.

The file system decides which users can connect: the socket has mode 0600 in a folder with mode 0700
(unix(7)), so only the service's own user and root can. No key and no signature gives this power.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from app.paths import LOCAL_SOCKET, local_socket


def listen(folder: Path, name: str = LOCAL_SOCKET) -> socket.socket | None:
    """Listen on a socket in DATA_DIR, replacing one that a killed service left.

    Returns None where the file system has no sockets: commands then need the service to be stopped.
    """
    address, folder_fd = local_socket(folder, name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with suppress(FileNotFoundError):
            Path(address).unlink()
        listener.bind(address)
    except OSError:
        listener.close()
        return None
    finally:
        os.umask(before)
        os.close(folder_fd)
    return listener


def remove(folder: Path) -> None:
    """Remove DATA_DIR's socket, when the service stops."""
    (folder / LOCAL_SOCKET).unlink(missing_ok=True)
