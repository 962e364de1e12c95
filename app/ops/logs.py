"""Logs on standard error: for people, or one JSON object a line for machines.

Neither addresses nor tokens nor secrets are logged: no module passes them to a logger.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.logging import RichHandler

Form = Literal["text", "json"]


class JsonFormatter(logging.Formatter):
    """{"at", "level", "logger", "message", "error"?}; `at` is ISO 8601 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start(level: str, form: Form) -> None:
    """Log what is at least as severe as `level`."""
    handler: logging.Handler
    if form == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    else:
        handler = RichHandler(
            console=Console(stderr=True),
            show_path=False,
            rich_tracebacks=False,
            log_time_format="%H:%M:%S",
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # We report ourselves what these would tell at each try, with servers and statements.
    for name in ("urllib3", "clickhouse_connect"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # It would tell every command, addresses and all.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    # Nor each request to a webhook, whose address and answer are others' to choose.
    for name in ("httpx2", "sse_starlette", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
