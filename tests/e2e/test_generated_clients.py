"""Clients that are generated from /openapi.json work with a service, and a linter finds nothing.

`make clients` and `make npmtools` install the generators; a test is skipped if its one is missing.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

PROGRAMS = ROOT / "tests" / "support" / "clients"
PYTHON = ROOT / ".venv/clients/bin/python"
NODE_MODULES = ROOT / ".venv/npm/node_modules"
needs_python = pytest.mark.skipif(
    not PYTHON.with_name("openapi-python-client").is_file(),
    reason="openapi-python-client is not installed: `make clients`",
)
needs_npm = pytest.mark.skipif(
    not (NODE_MODULES / "openapi-typescript").is_dir(),
    reason="openapi-typescript and redocly are not installed: no npm",
)
PERSON = {
    "user-agent": "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0",
    "sec-fetch-mode": "navigate",
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("described") / "data") as running:
        running.ready()
        yield running


def run(folder: Path, *command: object, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def click(service: Service, html: str) -> None:
    for url in paths(tracked_urls(html)):
        service.client.get(url, headers=PERSON)
    service.settled()


@needs_python
def test_the_client_of_openapi_python_client_works(described: Service, tmp_path: Path) -> None:
    page = (ROOT / "docs/howto/clients.md").read_text()
    config = re.search(r"<<'END'\n(.*?)END\n", page, re.DOTALL)
    assert config
    (tmp_path / "generator.yaml").write_text(config[1])
    url, key = described.url, described.api_key
    tool = PYTHON.with_name("openapi-python-client")
    bin_first = {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}"}
    options = ("--config", "generator.yaml", "--fail-on-warning")
    run(tmp_path, tool, "generate", "--url", f"{url}/openapi.json", *options, **bin_first)
    where = {"PYTHONPATH": str(tmp_path / "mailwake-api")}
    program = (PYTHON, "-W", "error", PROGRAMS / "generated.py", url, key)
    sent = json.loads(run(tmp_path, *program, "", **where))
    assert sent["streamed"] == ["bob@example.com", "cem@example.com"]
    assert sent["mail id"] and f"{url}/c/" in sent["mail"] and f"{url}/o/" in sent["html"]
    click(described, sent["html"])
    seen = json.loads(run(tmp_path, *program, sent["message"], **where))
    assert abs(seen.pop("sent after")) < 3600
    assert seen.pop("pages").count("generated/python ü") == 1
    assert sorted(seen.pop("history")) == ["message.clicked", "message.opened"]
    assert seen == {
        "found": [sent["message"]],
        "clicks": 1,
        "timeline": 1,
        "events": ["ann@example.com"],
        "people": ["ann@example.com"],
        "report": "<!doctype html>",
        "suppressed": [True, True, False],
        "problem": [404, "newsletter_id"],
        "refused": [422, "recipient"],
    }


@needs_npm
def test_the_types_of_openapi_typescript_fit_and_their_client_works(
    described: Service, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    program = tmp_path / "generated.ts"
    program.write_text((PROGRAMS / "generated.ts").read_text())
    tools = NODE_MODULES / ".bin"
    url = f"{described.url}/openapi.json"
    run(tmp_path, tools / "openapi-typescript", url, "-o", "mailwake.d.ts")
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    (tmp_path / "globals.d.ts").write_text("declare const process: { argv: string[] };\n")
    run(tmp_path, tools / "tsc", *options, program, "globals.d.ts")
    out: dict[str, Any] = json.loads(
        run(tmp_path, "node", "generated.js", described.url, described.api_key)
    )
    assert f"{described.url}/c/" in out.pop("html")
    message = out.pop("message")
    assert out.pop("pages").count("generated/typescript ü") == 1
    assert out == {
        "streamed": ["bob@example.com", "cem@example.com"],
        "found": [message],
        "suppressed": [True, False],
        "problem": [404, "newsletter_id"],
        "refused": [422, "limitt"],
    }


@needs_npm
def test_redocly_finds_nothing(described: Service, tmp_path: Path) -> None:
    document = described.get("/openapi.json")
    document["servers"] = [{"url": "https://click.mailwake.test"}]  # 127.0.0.1 would be a warning
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    lint = (NODE_MODULES / ".bin/redocly", "lint", "openapi.json", "--format", "json")
    offline = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    found = json.loads(run(tmp_path, *lint, **offline))
    assert found["problems"] == []
    del document["paths"]["/v1/events"]["get"]["operationId"]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    assert "operation-operationId" in run(tmp_path, *lint, **offline)
