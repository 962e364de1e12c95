"""Nobody else on the machine can read what the service writes."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from tests.support.service import Service


def test_an_open_data_folder_is_closed_at_the_start(tmp_path: Path) -> None:
    """Databases, journal and secrets lay open in a folder that had been created with mode 0755."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    with Service(data) as service:
        service.ready()
        service.rewrite("modes", '<a href="https://example.com/">x</a>')
        service.drained()
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert "its mode is 0700 now" in service.log.read_text()
        paths = 0
        for place, folders, files in os.walk(data):
            for name in folders + files:
                with suppress(FileNotFoundError):  # it is a running service's
                    mode = Path(place, name).lstat().st_mode
                    assert stat.S_ISLNK(mode) or not mode & 0o077, name
                    paths += 1
        assert paths > 20


def test_a_shared_folder_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "shared"
    data.mkdir()
    data.chmod(0o1777)
    service = Service(data)
    try:
        service.start()
    except AssertionError:
        assert "is shared with other users" in service.log.read_text()
        assert "MAILWAKE_DATA_DIR" in service.log.read_text()
    else:
        raise AssertionError("the service started in a folder that is shared")
    finally:
        service.client.close()
