"""The Python client as a file of its own; its calls are tested with the API's."""

import json
import subprocess
import sys
import zipfile
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import httpx2
import msgspec
import pytest

import mailwake_client
from app.schemas import experiments, messages, outcomes, problem
from app.schemas.timestamps import Timestamp
from mailwake_client import (
    LineError,
    Mailwake,
    MailwakeError,
    OutcomeAccepted,
    OutcomeIn,
    Plan,
    Share,
)
from tests.support.paths import ROOT
from tests.support.service import Service

SHAPES = {name: kind for name, kind in vars(mailwake_client).items() if is_dataclass(kind)}
SCHEMAS = {**vars(problem), **vars(experiments), **vars(messages), **vars(outcomes)}
NAMES = {"PlanOut": "Plan"}  # the client has one class for what it sends and what it gets
FOREIGN = {"app", "clickhouse_connect", "sqlalchemy", "pydantic", "msgspec", "starlette", "chdb"}
MEASURE = """
import json, sys, time
started = time.process_time()
import mailwake_client
print(json.dumps([time.process_time() - started, sorted(sys.modules)]))
"""


def rendered(kind: Any) -> Any:
    """A type without its bounds, with classes by their names."""
    if kind == Timestamp:
        return "datetime"  # which the client reads
    args = get_args(kind)
    if get_origin(kind) is Annotated:
        return rendered(args[0])
    if not args or (not isinstance(kind, type) and str(get_origin(kind)) == "typing.Literal"):
        name = str(getattr(kind, "__name__", kind))
        return args or NAMES.get(name, name)
    parts = [rendered(arg) for arg in args]
    return [str(get_origin(kind).__name__).replace("UnionType", "Union"), parts]


def plain(default: object) -> object:
    return msgspec.to_builtins(default)


def default_of(field: Any, missing: object) -> object:
    if field.default is not missing:
        return plain(field.default)
    return plain(field.default_factory()) if field.default_factory is not missing else "required"


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_agrees_with_the_schema_of_the_api(name: str) -> None:
    ours, schema = SHAPES[name], SCHEMAS[name]
    hints, expected = get_type_hints(ours), get_type_hints(schema, include_extras=True)
    assert {key: rendered(kind) for key, kind in hints.items()} == {
        key: rendered(kind) for key, kind in expected.items()
    }
    assert {field.name: default_of(field, MISSING) for field in fields(ours)} == {
        field.name: default_of(field, msgspec.NODEFAULT) for field in msgspec.structs.fields(schema)
    }


def test_importing_loads_nothing_of_the_service_and_takes_under_150_ms() -> None:
    """Processor time of the process, the least of ten: a busy machine makes no difference."""
    least = 1.0
    for _ in range(10):
        answer = subprocess.run(
            [sys.executable, "-c", MEASURE], capture_output=True, check=True, cwd="/"
        )
        seconds, loaded = json.loads(answer.stdout)
        assert not FOREIGN & {module.split(".")[0] for module in loaded}
        least = min(least, seconds)
        if least < 0.15:
            break
    assert least < 0.15


def test_the_wheel_has_the_file_at_its_top_and_only_there(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("mailwake_client.py")]
        assert names == ["mailwake_client.py"]
        archive.extract("mailwake_client.py", tmp_path / "site")
    code = "import mailwake_client as m; print(m.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip() == str(tmp_path / "site" / "mailwake_client.py")


def test_the_former_name_warns_and_is_the_same() -> None:
    sys.modules.pop("app.client", None)
    with pytest.warns(DeprecationWarning, match="mailwake_client"):
        from app import client
    assert client.Mailwake is Mailwake


def test_a_plan_is_sent_whole() -> None:
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    plan = Plan((Share("A"), Share("B", 3)), decide_at=moment)
    sent = msgspec.json.decode(mailwake_client._json(plan), type=experiments.Plan)
    assert sent == experiments.Plan(
        (experiments.Share("A"), experiments.Share("B", 3)), decide_at=moment
    )


@pytest.mark.parametrize("body", ["gateway", "[]", '"x"', '{"title": 1}', '{"title": "x"}'])
def test_an_error_that_is_no_problem_document_keeps_its_status(body: str) -> None:
    with pytest.raises(MailwakeError) as caught:
        Mailwake._checked(httpx2.Response(502, text=body))
    assert (caught.value.problem.status, caught.value.problem.title) == (502, "Bad Gateway")


def test_fields_of_a_later_version_are_ignored() -> None:
    line = {"line": 1, "status": 422, "error": "x", "later": {}}
    assert mailwake_client._read(mailwake_client.LineError, line).error == "x"


def test_outcomes_are_reported_in_batches_and_answered_in_order(service: Service) -> None:
    with Mailwake(service.url, service.api_key) as mailwake:
        ids = [
            mailwake.rewrite("client outcomes", f"p{n}@outcomes.example", "<p>x</p>").message_id
            for n in range(3)
        ]
        now = datetime.now(UTC)
        bounce = OutcomeIn(
            "bounce", "bounced", now, message_id=ids[0], permanent=True, code="5.1.1"
        )
        many = [
            OutcomeIn(f"seen {n}", "delivered", now, message_id=ids[1 + n % 2], text="x" * 1900)
            for n in range(100)
        ]
        wrong = OutcomeIn("wrong", "bounced", now, message_id=ids[0])
        answers = mailwake.report_outcomes([bounce, *many, wrong, *many[:1]])
        assert answers[:2] == [OutcomeAccepted("bounce"), OutcomeAccepted("seen 0")]
        assert answers[101] == LineError(102, 422, "is required for bounced", "permanent")
        assert len(answers) == 103 and answers[102] == OutcomeAccepted("seen 0")
        assert mailwake.report_outcomes([]) == []
    service.drained()
    counts = service.stats("client outcomes")["outcomes"]
    assert (counts["bounced"], counts["delivered"]) == (1, 2)
    with (
        Mailwake(service.url, "wrong") as stranger,
        pytest.raises(MailwakeError, match="401"),
    ):
        stranger.report_outcomes([bounce])
