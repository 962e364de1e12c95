"""The documentation's example programs: all can be parsed, and those of each kind are run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.web.api import docs
from app.web.api.app import openapi
from app.web.api.docs import Operation
from app.web.api.operation import MAIL
from app.web.api.samples import MAIL_FILE
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

LANGUAGES = ("curl", "Python", "JavaScript")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed: no npm")
# One of each kind, in an order in which what they need exists: JSON, a whole mail, a template and
# its NDJSON, parameters of path and query.
RUN = ("rewrite_message", "rewrite_mime", "store_template", "create_messages", "list_events")
RUN_PROGRAMS = [
    pytest.param(name, language, marks=[needs_node] if language == "JavaScript" else [])
    for language in LANGUAGES
    for name in (*RUN, "get_newsletter_timeline", "find_messages")
]


def operations(url: str = "https://click.example.com") -> dict[str, Operation]:
    return {operation.name: operation for operation in docs.operations(openapi(url))}


def test_each_operation_has_a_program_in_each_language() -> None:
    for operation in operations().values():
        assert tuple(operation.samples) == LANGUAGES
        compile(operation.samples["Python"], operation.name, "exec")
        for sample in operation.samples.values():
            assert "MAILWAKE_API_KEY" in sample and "https://click.example.com/v1/" in sample


@needs_node
def test_the_programs_can_be_parsed(tmp_path: Path) -> None:
    whole = []
    for name, operation in operations().items():
        module = tmp_path / f"{name}.mjs"
        module.write_text(operation.samples["JavaScript"])
        whole.append(f"function {name}() {{\n{operation.samples['curl']}\n}}")
        subprocess.run(["node", "--check", module], check=True, timeout=PATIENCE_SECONDS)
    subprocess.run(["bash", "-n", "-c", "\n".join(whole)], check=True, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize(("name", "language"), RUN_PROGRAMS)
def test_a_program_runs(service: Service, tmp_path: Path, name: str, language: str) -> None:
    service.rewrite("spring-sale", "<p>")  # a newsletter that exists
    service.drained()
    operation = operations(service.url)[name]
    if operation.media == MAIL:
        (tmp_path / MAIL_FILE).write_bytes(operation.body.encode())
    command = {
        "curl": ["bash", "-c", operation.samples["curl"].replace("curl ", "curl -sf ", 1)],
        "Python": [sys.executable, "-c", operation.samples["Python"]],
        "JavaScript": ["node", "--input-type=module", "-e", operation.samples["JavaScript"]],
    }[language]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MAILWAKE_API_KEY": service.api_key},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = {"rewrite_message", "create_messages"}
    if name in written:
        assert f"{service.url}/c/" in done.stdout and f"{service.url}/o/" in done.stdout
    elif name == "rewrite_mime":
        assert done.stdout.startswith("From: Shop") and f"{service.url}/c/" in done.stdout
    elif name == "store_template":
        assert "spring-sale" in done.stdout and "name" in done.stdout
    elif name == "get_newsletter_timeline":
        assert "3600" in done.stdout and "2026-11-24T10:00:00.000Z" in done.stdout
    elif name == "find_messages":
        assert "next_after" in done.stdout
