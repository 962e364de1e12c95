"""Every code block of the documentation, and what runs or reads each kind of it.

A comment before a block says what is special about it, and where it cannot be run, why:

    <!-- not run: why -->               for what is not here, or would change the machine
    <!-- runs on: 127.0.0.1:8025 -->    a service: the page goes on once it listens there

A block whose first line is a comment with a file's name is written to that file. The blocks of a
page share a folder, and what one sets the next ones find.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]
from markdown_it import MarkdownIt

from app.events import webhook_config
from app.rewriting import html as rewrite
from app.rewriting import links
from app.settings import settings
from app.smtp import stream_rules
from app.storage.clickhouse import Storage
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("docs/**/*.md")]
)
PICTURES = {"text"}  # drawings and figures: nothing that anybody would paste
COMMENT = re.compile(r"<!--\s*(not run|runs on):\s*(.+?)\s*-->\s*", re.DOTALL)
FILE = re.compile(r"(?:#|<!--) ([\w./-]+\.\w+)(?: -->)?\n")
# What a shell block leaves to the next: variables, but those of the shell itself, and functions.
KEPT = "{ declare -p | grep -vE '^declare -[a-z]*r'; declare -f; }"


class Block(NamedTuple):
    """A fenced block; `special` and `why` are the comment before it."""

    page: str
    line: int
    language: str
    text: str
    special: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language})"


def blocks(page: Path) -> Iterator[Block]:
    """In order. An indented block has no language."""
    name, before = str(page.relative_to(ROOT)), ""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            said = COMMENT.fullmatch(before)
            special, why = said.groups() if said else ("", "")
            line = token.map[0] + 1 if token.map else 0
            yield Block(name, line, token.info.strip(), token.content, special, why)
        before = token.content if token.type == "html_block" else ""


class Desk:
    """Where one page is worked through: a folder, the commands it names, and what its addresses
    stand for here."""

    def __init__(self, folder: Path, env: Mapping[str, str], places: Mapping[str, str]) -> None:
        self.folder, self._places = folder, dict(places)
        self._running: list[subprocess.Popen[bytes]] = []
        tools = folder / ".venv" / "bin"
        tools.mkdir(parents=True)
        (tools / "python").symlink_to(sys.executable)
        self._script(tools / "mailwake", f'exec "{sys.executable}" -m app "$@"')
        # `make serve` installs what is missing and starts the same; curl is to tell of errors.
        self._script(tools / "make", f'exec "{sys.executable}" -m app "$@"')
        self._script(tools / "curl", f'exec {shutil.which("curl")} --fail-with-body "$@"')
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
        self._env = {
            **kept,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "PATH": f"{tools}:{os.environ['PATH']}",
            "COLUMNS": "120",
            **env,
        }

    @staticmethod
    def _script(path: Path, command: str) -> None:
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)

    def _here(self, text: str) -> str:
        for place, stand_in in self._places.items():
            text = re.sub(rf"{re.escape(place)}(?!\d)", stand_in, text)
        return text

    def do(self, block: Block, storage: Storage) -> str:
        """Run or read it; what it has printed. Raises AssertionError where it does not work."""
        text = self._here(block.text)
        if named := FILE.match(text):
            path = self.folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if block.special == "runs on":
            self._start(text, self._here(block.why))
            return ""
        if block.language in ("sh", "python"):
            return "" if named else getattr(self, f"_{block.language}")(text, block)
        try:
            READERS[block.language](text, self.folder, storage)
        except Exception as error:
            raise AssertionError(f"{block}: {error}") from error
        return ""

    def _sh(self, text: str, block: Block) -> str:
        told = self.folder / ".exported"
        script = f"set -euo pipefail\n[ ! -f {told} ] || . {told}\n{text}\n{KEPT} > {told}\n"
        return self._done(["bash", "-c", script], block)

    def _python(self, text: str, block: Block) -> str:
        told, values = self.folder / ".exported", dict(self._env)
        if told.exists():
            shown = subprocess.check_output(["bash", "-c", f". {told}; env -0"], env=self._env)
            values |= dict(one.split("=", 1) for one in shown.decode().split("\0") if one)
        return self._done([sys.executable, "-W", "error", "-c", text], block, values)

    def _done(self, command: list[str], block: Block, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=env or self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        log = self.folder / ".running"
        told = (done.stdout, done.stderr, log.read_text() if log.exists() else "")
        shown = "\n".join(text[-3000:] for text in told)
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{shown}"
        return done.stdout

    def _start(self, text: str, address: str) -> None:
        told = self.folder / ".exported"
        script = f"[ ! -f {told} ] || . {told}\n{text}"
        log = self.folder / ".running"
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self._env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._running.append(process)
        host, _, port = address.rpartition(":")
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            with socket.socket() as probe:
                listens = probe.connect_ex((host, int(port))) == 0
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            if listens:
                return
            time.sleep(0.05)

    def leave(self) -> None:
        """End what runs on."""
        for process in self._running:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._running:
            process.wait(PATIENCE_SECONDS)


@contextmanager
def desk(folder: Path, env: Mapping[str, str], places: Mapping[str, str]) -> Iterator[Desk]:
    """Until the block ends."""
    found = Desk(folder, env, places)
    try:
        yield found
    finally:
        found.leave()


def _toml(text: str, folder: Path, _: Storage) -> None:
    kinds = tomllib.loads(text)
    path = folder / "block.toml"
    path.write_text(text)
    if "webhook" in kinds:
        webhook_config.from_file(path)
    if "stream" in kinds:
        stream_rules.from_file(path)


def _dotenv(text: str, folder: Path, _: Storage) -> None:
    """Every variable is one of ours, and the values go together."""
    (folder / ".env").write_text(text)
    names = re.findall(r"(?m)^([A-Z_0-9]+)=", text)
    known = {settings.PREFIX + name.upper() for name in settings.Settings.model_fields}
    assert names and set(names) <= known, set(names) - known
    settings.Settings(_env_file=folder / ".env")  # type: ignore[call-arg]


def _ini(text: str, folder: Path, _: Storage) -> None:
    """Postfix' main.cf or master.cf, by Postfix' own reader."""
    kind = "master.cf" if "# master.cf" in text else "main.cf"
    etc = folder / "postfix"
    etc.mkdir(exist_ok=True)
    for name in ("main.cf", "master.cf"):
        (etc / name).write_text(text if name == kind else "")
        os.utime(etc / name, (0, 0))  # postconf waits two seconds for a file that is new
    if not shutil.which("postconf"):
        return
    asks = ["-M"] if kind == "master.cf" else ["-n"]
    told = subprocess.run(
        ["postconf", "-c", str(etc), *asks], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0 and told.stdout.strip() and not told.stderr, told.stderr


def _caddyfile(text: str, folder: Path, _: Storage) -> None:
    path = folder / "Caddyfile"
    path.write_text(text)
    if shutil.which("caddy"):
        adapt = ["caddy", "adapt", "--config", str(path), "--adapter", "caddyfile"]
        subprocess.run(adapt, capture_output=True, check=True)
    assert text.count("{") == text.count("}") > 0


def _sql(text: str, _: Path, storage: Storage) -> None:
    for statement in filter(str.strip, text.split(";")):
        storage.query(f"EXPLAIN AST {statement}", {})


def _html(text: str, _: Path, __: Storage) -> None:
    """As it would be sent: links are found, and every other byte is kept."""
    html = text.encode()
    done = rewrite.compile_html(html, links.Options(), lambda _: "token", "http://click.example")
    assert done.links and done.restore(done.personalise(b"token"), b"token") == html


READERS: Mapping[str, Callable[[str, Path, Storage], object]] = {
    "json": lambda text, _, __: json.loads(text),
    "yaml": lambda text, _, __: yaml.safe_load(text),
    "toml": _toml,
    "dotenv": _dotenv,
    "ini": _ini,
    "caddyfile": _caddyfile,
    "sql": _sql,
    "html": _html,
}
LANGUAGES = {"sh", "python", *READERS, *PICTURES}
