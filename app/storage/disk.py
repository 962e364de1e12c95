"""Keeps a reserve of the data folder's disk for hits: below it nothing else is written."""

import os
from pathlib import Path

MEGABYTE = 2**20


class ReserveError(Exception):
    """Less than the reserve is free, so only hits are written; the message says how much."""


class DiskReserve:
    """Compares the free space of a folder's disk with the reserve; 0 MB is no reserve."""

    def __init__(self, folder: Path, reserve_mb: int) -> None:
        self._folder, self._reserve_mb = folder, reserve_mb

    @property
    def free_bytes(self) -> int:
        """Returns how many bytes the service may still write, 0 if the disk cannot be examined."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    @property
    def trouble(self) -> str:
        """Returns what is wrong; empty while more than the reserve is free."""
        if not self._reserve_mb:
            return ""
        free = self.free_bytes
        if free >= self._reserve_mb * MEGABYTE:
            return ""
        return (
            f"only hits are stored: {free // MEGABYTE:,} MB of the disk are free, less than the"
            f" reserve of {self._reserve_mb:,} MB (MAILWAKE_DISK_RESERVE_MB)"
        )

    def check(self) -> None:
        """Raises ReserveError while less than the reserve is free."""
        if trouble := self.trouble:
            raise ReserveError(trouble)
