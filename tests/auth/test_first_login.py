"""The file of the first login; server/test_bootstrap.py has the service write and delete it."""

import stat
from pathlib import Path

from app.auth import first_login


def test_a_key_that_nobody_used_stays_when_the_link_is_renewed(tmp_path: Path) -> None:
    path = first_login.write(tmp_path, "http://x/login?code=1", "mw_1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().splitlines()[:2] == [
        "Login link: http://x/login?code=1",
        "API key: mw_1",
    ]
    first_login.write(tmp_path, "http://x/login?code=2", "")
    assert path.read_text().splitlines()[:2] == [
        "Login link: http://x/login?code=2",
        "API key: mw_1",
    ]
    first_login.write(tmp_path, "", "mw_2")
    assert path.read_text().splitlines()[0] == "API key: mw_2"


def test_it_is_deleted_once_and_again(tmp_path: Path) -> None:
    path = first_login.write(tmp_path, "http://x/login?code=1", "")
    for _ in range(2):
        first_login.remove(tmp_path)
        assert not path.exists()
