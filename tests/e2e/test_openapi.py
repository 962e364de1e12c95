"""Whatever the API's own description allows, and what it does not, no answer is a 5xx.

Each answer has a status, a media type and a shape that the description names.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# Operations that are not called, and why.
NOT_FUZZED = {
    "/v1/events/stream": "its answer has no end: web/api/test_events.py",
}
LONG = [
    pytest.mark.torture,
    pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture"),
]


@pytest.mark.parametrize("examples", ["3", pytest.param("500", marks=LONG)])
def test_no_request_is_answered_with_a_server_error(tmp_path: Path, examples: str) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        run = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{service.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {service.api_key}",
            "--checks",
            ",".join(CHECKS),
            *(word for path in NOT_FUZZED for word in ("--exclude-path", path)),
            "--max-examples",
            examples,
            "--request-timeout",
            str(int(PATIENCE_SECONDS)),
            "--suppress-health-check",
            "all",
            "--no-color",
        ]
        hooks = {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            run,
            cwd=tmp_path,
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        paths = service.get("/openapi.json")["paths"]
        operations = sum(len(methods) for path, methods in paths.items() if path not in NOT_FUZZED)
        assert set(paths) >= {*NOT_FUZZED, "/v1/outcomes/{provider}", "/v1/suppression-rules"}
        assert f"Tested: {operations}" in done.stdout, done.stdout[-2000:]
        assert "Traceback" not in service.log.read_text()
        assert service.client.get("/healthz/full").status_code == 200
