"""What cannot be loaded is set aside, up to a limit, and can be shown, loaded again and dropped."""

import stat
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import cli
from app.model.ids import new_id
from app.storage import set_aside
from app.storage.journal_segments import BAD, begun_at, sealed, without_footer
from app.storage.set_aside import SetAsideError, drop, entries, find, keep, keep_damaged, load_again


def segment(folder: Path) -> Path:
    return folder / f"{uuid.UUID(bytes=new_id())}.seg"


def test_each_kind_says_why_it_is_here(tmp_path: Path) -> None:
    first, second = segment(tmp_path), segment(tmp_path)
    keep(first, [b"nonsense", b'{"url":"https://e.example/?token=secret1234567890"}'])
    keep_damaged(second, b"a\nb\n")
    (tmp_path / f"{first.stem}.fix{BAD}").write_bytes(b"x\n")
    by_name = {entry.name: entry for entry in entries(tmp_path)}
    lines = by_name[f"{first.stem}.bad"]
    assert (lines.lines, lines.reason, lines.loadable) == (2, "no records", True)
    damaged = by_name[f"{second.stem}.damaged.bad"]
    assert (damaged.lines, damaged.reason, damaged.loadable) == (2, "wrong checksum", False)
    assert not by_name[f"{first.stem}.fix.bad"].loadable
    assert b"secret1234567890" not in (tmp_path / lines.name).read_bytes()
    assert stat.S_IMODE((tmp_path / lines.name).stat().st_mode) == 0o600


def test_there_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "MAX_BYTES", 100)
    path = segment(tmp_path)
    keep(path, [b"x" * 60])
    keep(path, [b"x" * 60])  # the same again, after a kill
    with pytest.raises(SetAsideError, match="set aside already"):
        keep(segment(tmp_path), [b"x" * 60])
    with pytest.raises(SetAsideError, match="set aside already"):
        keep_damaged(segment(tmp_path), b"x" * 60)
    assert len(entries(tmp_path)) == 1
    drop(tmp_path, entries(tmp_path)[0].name)
    keep(segment(tmp_path), [b"x" * 60])


def test_lines_are_given_back_once(tmp_path: Path) -> None:
    path = segment(tmp_path)
    for _ in range(2):  # as if the first attempt had been interrupted before its last step
        keep(path, [b"one", b"two"])
        load_again(tmp_path, f"{path.stem}.bad")
        (again,) = sealed(tmp_path)
        assert again.stem != path.stem and uuid.UUID(again.stem)
        assert begun_at(again.name) == begun_at(path.name)
        assert without_footer(again.read_bytes()) == (b"one\ntwo\n", True)
        assert not entries(tmp_path)


@pytest.mark.parametrize("name", ["none.bad", "../x.bad", "", "/etc/passwd"])
def test_unknown_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.bad").write_bytes(b"")
    folder = tmp_path / "journal"
    folder.mkdir()
    for work in (find, drop, load_again):
        with pytest.raises(SetAsideError, match="there is no"):
            work(folder, name)
    assert (tmp_path / "x.bad").exists()


def test_the_command(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["set-aside", *words, "--data-dir", str(tmp_path)])
        return done.exit_code, done.output

    folder = tmp_path / "journal"
    folder.mkdir()
    assert run("list") == (0, "nothing is set aside\n")
    first, second = segment(folder), segment(folder)
    keep(first, [b"nonsense"])
    keep_damaged(second, b"x\n")
    status, shown = run("list")
    assert status == 0 and "1 lines  9 B  no records" in shown and "wrong checksum" in shown
    assert run("show", f"{first.stem}.bad") == (0, "nonsense\n")
    assert run("load", f"{second.stem}.damaged.bad")[0] == 2
    assert run("load", f"{first.stem}.bad") == (0, "given back to the journal\n")
    assert run("drop", f"{first.stem}.bad")[0] == 2
    assert run("drop", f"{second.stem}.damaged.bad") == (0, "deleted\n")
    assert run("list") == (0, "nothing is set aside\n")
