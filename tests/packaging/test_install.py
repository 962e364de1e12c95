"""The lock files, and how `make demo` installs them."""

import hashlib
import os
import re
import subprocess
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from docs.tools import install
from tests.support.paths import ROOT

LOCKS = ("requirements", "requirements-server", "requirements-dev", "requirements-bench")


def pins(name: str) -> dict[str, str]:
    """The version of each package of a lock file that this platform needs."""
    text = (ROOT / f"{name}.lock").read_text()
    found = {}
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\").strip())
            if not requirement.marker or requirement.marker.evaluate():
                found[canonical(requirement.name)] = str(requirement.specifier)
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def left_out() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {*project["tool"]["uv"]["exclude-dependencies"]}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / f"{name}.lock").read_text()
    assert "://" not in text
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("name", LOCKS[:3])
def test_a_lock_is_complete(name: str) -> None:
    """pip installs it without dependencies, so each dependency has a line of its own."""
    locked, skipped = pins(name), left_out()
    assert not skipped & {*locked}
    examined = 0
    for package in locked:
        try:
            requires = metadata.requires(package) or []
        except metadata.PackageNotFoundError:  # of a lock that is newer than this environment
            continue
        for text in requires:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            examined += 1
            needed = canonical(requirement.name)
            assert needed in locked or needed in skipped, f"{package} needs {needed}"
    assert examined > 30


def test_what_runs_is_part_of_what_is_tested() -> None:
    runtime, development = pins("requirements"), pins("requirements-dev")
    assert runtime.items() <= development.items()
    assert {*runtime} - {*pins("requirements-server")} == {"chdb-core"}
    assert pins("requirements-server").items() <= runtime.items()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment, a wheel beside it, and two locks of which the second is wrong."""
    folder = tmp_path_factory.mktemp("install")
    venv.create(folder / "venv", with_pip=True)
    wheel = folder / "tiny_package-1.0-py3-none-any.whl"
    info = "tiny_package-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_package.py", "")
        about = "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\nRequires-Dist: pandas\n"
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for name, value in (("good", digest), ("bad", "0" * 64)):
        line = f"tiny-package==1.0 \\\n    --hash=sha256:{value}\n"
        (folder / f"{name}.lock").write_text(line)
    return folder


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place), "PIP_CONFIG_FILE": os.devnull}
    env = {**os.environ, **pip}
    program = [str(place / "venv" / "bin" / "python"), str(ROOT / "docs" / "tools" / "install.py")]
    return subprocess.run([*program, *words], capture_output=True, text=True, check=False, env=env)


def test_a_wrong_hash_fails_with_what_pip_says(place: Path) -> None:
    done = run(place, str(place / "bad.lock"), "--link")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (place / "venv" / "bin" / "mailwake").exists()


def test_progress_is_shown_and_the_command_is_written(place: Path) -> None:
    done = run(place, str(place / "good.lock"), "--link")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"Installing 1 packages of good.lock into {place / 'venv'}",
        "  unpacking 1 packages",
    ]
    python = place / "venv" / "bin" / "python"
    code = "import app, mailwake_client, tiny_package; print(app.__version__)"
    shown = subprocess.run(
        [python, "-P", "-c", code], cwd=place, capture_output=True, text=True, check=False
    )
    assert shown.stdout == "0.1.0\n", shown.stderr
    command = place / "venv" / "bin" / "mailwake"
    started = subprocess.run([command, "version"], capture_output=True, text=True, check=False)
    assert "No module named 'typer'" in started.stderr  # it runs `app` with that Python


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("  Downloading chdb_core-26.9.0-cp39-abi3-manylinux.whl (181.5 MB)\n", "181.5 MB"),
        ("  Downloading click-8.5.1-py3-none-any.whl (110 kB)\n", "110 kB"),
        ("Collecting click==8.5.1 (from -r requirements.lock (line 1))\n", ""),
        ("  Using cached click-8.5.1-py3-none-any.whl\n", ""),
    ],
)
def test_sizes(line: str, size: str) -> None:
    assert install.size_of(line) == size


def test_packages_are_counted() -> None:
    text = "a==1 \\\n    --hash=sha256:0\n    # via b==2\nb==2 ; sys_platform == 'x' \\\n# c==3\n"
    assert install.packages_in(text) == 2
