"""What the command `mailwake` imports, and its list of commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from app import __version__
from app.cli.main import COMMANDS, cli, imported
from tests.support.paths import ROOT

# Runs `mailwake` in a process of its own, and writes the names of its modules to a file.
RUN = """
import json, runpy, sys
path, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module("app", run_name="__main__", alter_sys=False)
except SystemExit as end:
    code = end.code
json.dump([code, sorted(sys.modules)], open(path, "w"))
"""
PYDANTIC = {"pydantic", "pydantic_settings"}  # settings, and every option that typer reads
STATE = {"sqlalchemy"}  # state.db
HEAVY = {
    "aiosmtpd",
    "app.ingest",
    "app.rewriting.html",
    "app.server",
    "app.web",
    "chdb",
    "clickhouse_connect",
    "device_detector",
    "httpx2",
    "jinja2",
    "maxminddb",
    "nh3",
    "numpy",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "starlette",
    "uvicorn",
    "uvloop",
} | PYDANTIC | STATE  # fmt: skip


def modules_of(folder: Path, *words: str) -> set[str]:
    """The modules that a command has imported when it ends, without an error."""
    answer = folder / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(answer), *words],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    code, names = json.loads(answer.read_text())
    assert not code, (words, done.stderr.decode())
    return set(names)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("version",), set()),
        (("--version",), set()),
        (("--help",), set()),
        (("help",), set()),
        (("set-aside", "list"), PYDANTIC),
        (("doctor",), PYDANTIC | {"clickhouse_connect", "httpx2"}),
        (("keys", "list"), PYDANTIC | STATE),
        (("keys", "add", "x"), PYDANTIC | STATE),
        (("users", "list"), PYDANTIC | STATE),
        (("users", "add", "ann"), PYDANTIC | STATE),
        (("login-link", "ann"), PYDANTIC | STATE),
        (("workspaces", "list"), PYDANTIC | STATE),
        (("consent", "show", "ann@example.com"), PYDANTIC | STATE),
    ],
)
def test_a_command_imports_what_it_uses(
    tmp_path: Path, words: tuple[str, ...], needed: set[str]
) -> None:
    tmp_path.chmod(0o700)  # as doctor asks for
    if words[:1] == ("login-link",):
        modules_of(tmp_path, "users", "add", "ann", "--data-dir", str(tmp_path))
    if not {"help", "--help", "version", "--version"} & {*words}:
        words = (*words, "--data-dir", str(tmp_path))
    assert modules_of(tmp_path, *words) & HEAVY <= needed


def test_serve_imports_what_the_others_do_not(tmp_path: Path) -> None:
    """The names in HEAVY are those of real modules, so that the test above can fail."""
    code = "import json, sys; import app.cli.serve, app.server.service, app.smtp.gateway, chdb"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    optional = {"numpy", "pandas", "pyarrow"}  # chDB imports them if they are installed
    assert HEAVY - optional <= set(json.loads(done.stdout))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name: str) -> None:
    help_text = imported(name).help
    assert help_text is not None
    first = " ".join(help_text.partition("\n\n")[0].split())
    assert first == COMMANDS[name].help


def test_help_and_version() -> None:
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    listed = CliRunner().invoke(cli, ["--help"]).stdout
    assert all(f" {name} " in listed for name in (*COMMANDS, "version"))
    assert CliRunner().invoke(cli, ["help"]).stdout == listed
    assert CliRunner().invoke(cli, []).stdout.strip() == listed.strip()
    for words in (["keys"], ["keys", "add"], ["serve"]):
        asked = CliRunner().invoke(cli, ["help", *words])
        assert (asked.exit_code, asked.stdout) == (
            0,
            CliRunner().invoke(cli, [*words, "--help"]).stdout,
        )
        assert " ".join(words) in asked.stdout
    for words in (["version"], ["--version"]):
        assert CliRunner().invoke(cli, words).stdout == f"mailwake {__version__}\n"
    wrong = CliRunner().invoke(cli, ["vers"])
    assert wrong.exit_code == 2 and "Did you mean 'version'" in wrong.stderr
