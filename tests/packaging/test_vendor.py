import hashlib
from pathlib import Path

import pytest

from app.paths import resource
from tests.support.paths import DATA

FOLDERS = resource("static") / "vendor", DATA / "vendor"
PACKAGES = sorted(package for folder in FOLDERS for package in folder.iterdir())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_vendored_package_is_what_its_manifest_says(package: Path) -> None:
    lines = (package / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    present = {path.name for path in package.iterdir()} - {"SHA256SUMS"}
    assert set(listed) == present
    assert "LICENSE" in present
    for name, digest in listed.items():
        assert hashlib.sha256((package / name).read_bytes()).hexdigest() == digest
