import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from app.ops.logs import Form, JsonFormatter, start

QUIET = ("urllib3", "clickhouse_connect", "mail.log", "httpx2", "sse_starlette", "asyncio")


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Form], None]]:
    """`start` on a root logger without handlers; afterwards loggers are as they were."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", *QUIET)}

    def begun(level: str, form: Form) -> None:
        monkeypatch.setattr(root, "handlers", [])
        start(level, form)

    yield begun
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_of_json_has_time_level_logger_and_message() -> None:
    record = logging.LogRecord("app.x", logging.WARNING, "f", 1, "%d mails\nü", (3,), None)
    record.created = 1_700_000_000.1239
    line = JsonFormatter().format(record)
    assert "\n" not in line and "ü" in line
    assert json.loads(line) == {
        "at": "2023-11-14T22:13:20.123+00:00",
        "level": "warning",
        "logger": "app.x",
        "message": "3 mails\nü",
    }


def test_an_error_is_part_of_the_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: why")


def test_json_goes_to_standard_error_from_the_level_on(
    begin: Callable[[str, Form], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    begin("warning", "json")
    logging.getLogger("app.x").info("not this")
    logging.getLogger("app.x").warning("this")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["this"]


def test_text_goes_to_standard_error_too(
    begin: Callable[[str, Form], None], capsys: pytest.CaptureFixture[str]
) -> None:
    begin("info", "text")
    logging.getLogger("app.x").info("[red]this[/red]")
    shown = capsys.readouterr()
    assert "[red]this[/red]" in shown.err and not shown.out


def test_libraries_that_would_log_addresses_are_silent(
    begin: Callable[[str, Form], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    begin("debug", "json")
    for name in QUIET:
        logging.getLogger(name).info("ann@x.example")
    logging.getLogger("mail.log").error("RCPT TO:<ann@x.example>")
    assert "ann@" not in out.getvalue()
