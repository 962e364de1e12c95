from pathlib import Path

import pytest

from app import paths
from app.paths import resource


def test_a_checkout_has_its_folders_beside_the_package(tmp_path: Path) -> None:
    for name in ("static", "clickhouse", "docs"):
        assert resource(name).is_dir()
        assert resource(name).parent == paths.ROOT.parent


def test_an_installed_package_has_them_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path / "app")
    assert resource("static") == tmp_path / "app" / "static"
    (tmp_path / "static").mkdir()
    assert resource("static") == tmp_path / "static"
