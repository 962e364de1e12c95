"""A file system of its own whose power can be cut: what is not on the disk by then is gone.

It is ext4 in a file (a loop device), which needs root. The ioctl EXT4_IOC_SHUTDOWN without a flush
of the log stops every write at once (linux/fs/ext4/ext4.h), like a power failure.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.patience import wait_for

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2
TOOLS = ("mkfs.ext4", "losetup", "mount", "umount")


class Disk:
    """An ext4 file system in a file of `folder`, mounted at `path`. Skips the test without root."""

    def __init__(self, folder: Path, megabytes: int = 1024) -> None:
        self.path, self._image, self._device = folder / "disk", folder / "image", ""
        if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
            pytest.skip("a power failure needs root and " + ", ".join(TOOLS))
        with self._image.open("wb") as file:
            file.truncate(megabytes * 2**20)
        self.path.mkdir()
        try:
            _run("mkfs.ext4", "-q", str(self._image))
            self._device = _run("losetup", "--find", "--show", str(self._image)).strip()
            self._mount()
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"a power failure needs loop devices: {error.stderr.strip()}")

    def cut_power(self) -> None:
        """Lose everything that is not on the disk; each access fails from now on."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def boot(self) -> None:
        """Mount again what is on the disk; no process may have a file of it open."""
        wait_for(self._unmounted, "the file system is not used any more")
        self._mount()

    def remove(self) -> None:
        """Unmount and delete it."""
        if self._device:
            subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)
            _run("losetup", "--detach", self._device)
        self._image.unlink()

    def _mount(self) -> None:
        _run("mount", self._device, str(self.path))

    def _unmounted(self) -> bool:
        done = subprocess.run(["umount", str(self.path)], check=False, capture_output=True)
        return done.returncode == 0


def _run(*command: str) -> str:
    done: Sequence[str] = command
    return subprocess.run(done, check=True, capture_output=True, text=True).stdout
