import os
from pathlib import Path

import pytest

from app.storage.disk import MEGABYTE, DiskReserve, ReserveError


def test_there_is_trouble_while_less_than_the_reserve_is_free(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    DiskReserve(tmp_path, free // MEGABYTE // 2).check()
    much = DiskReserve(tmp_path, 2 * free // MEGABYTE)
    assert "only hits are stored" in much.trouble and "MAILWAKE_DISK_RESERVE_MB" in much.trouble
    with pytest.raises(ReserveError, match="less than the reserve"):
        much.check()


def test_a_disk_that_cannot_be_examined_has_no_space(tmp_path: Path) -> None:
    assert DiskReserve(tmp_path / "missing", 1).free_bytes == 0
    assert DiskReserve(tmp_path / "missing", 1).trouble


def test_no_reserve_is_no_trouble(tmp_path: Path) -> None:
    DiskReserve(tmp_path / "missing", 0).check()
