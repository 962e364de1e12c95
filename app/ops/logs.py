"""Writes logs to standard error: for people, or one JSON object a line for machines.

Email addresses, IP addresses, tokens and secrets are not logged: no module passes them to a logger.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.logging import RichHandler

Form = Literal["text", "json"]


class JsonFormatter(logging.Formatter):
    """Formats {"at", "level", "logger", "message", "error"?}; `at` is ISO 8601 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line."""
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
    # Mailwake reports these errors itself; the libraries would at each attempt, with servers and
    # statements.
    for name in ("urllib3", "clickhouse_connect"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # It would log every command with its email addresses.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    # It would log each request to a webhook, of which others choose URL and answer.
    for name in ("httpx2", "sse_starlette", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
