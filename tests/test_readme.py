"""The README's tour really works when pasted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.service import Service

ROOT = Path(__file__).parents[1]


def test_the_tour_works_when_pasted(service: Service, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    script = "\n".join(blocks).replace("http://127.0.0.1:8025", service.url)
    bin_ = tmp_path / ".venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").symlink_to(sys.executable)
    (bin_ / "mailwake").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m app "$@"\n'
    )
    (bin_ / "mailwake").chmod(0o755)
    (tmp_path / "data").symlink_to(service.data_dir)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**environment, "MAILWAKE_PUBLIC_URL": service.url, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "302 https://example.com/?a=1&b=2&utm_source=hello" in done.stdout
    assert "200" in done.stdout
    stats = json.loads(re.search(r'\{"newsletter_id":"hello","messages".*?"\}', done.stdout)[0])  # type: ignore[index]
    assert stats["opens"]["human"] == {"total": 1, "unique": 1}
    assert stats["clicks"]["human"] == {"total": 1, "unique": 1}
    assert "other_scheme" in done.stdout
    service.drained()
    service.wait_for(lambda: service.stats("hello")["messages"] == 2, "the shell's message")


def test_the_two_commands_stand_first() -> None:
    screen = (ROOT / "README.md").read_text()[:800]
    assert "make demo" in screen and "make test" in screen


def test_every_file_that_the_docs_name_is_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name}: {name}"
