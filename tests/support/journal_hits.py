"""Clicks whose times a test sets: requests come close together on a fast machine only."""

import uuid
from collections.abc import Iterable

from msgspec.structs import replace

from app.model.ids import new_id
from app.model.records import encode
from app.settings.load import load, with_secrets
from app.tracking.hit_from_request import hit
from app.tracking.tokens import Tokens
from tests.support.service import Service, paths


def click_at(
    service: Service, urls: Iterable[str], at: int, agent: str, fetch_mode: str = ""
) -> None:
    """Put clicks into the journal as the service does; they come 100 ms apart from `at` (ms) on."""
    tokens = Tokens(with_secrets(load(data_dir=service.data_dir)).secret_keys)
    headers = {b"user-agent": agent.encode(), b"sec-fetch-mode": fetch_mode.encode()}
    lines: list[bytes] = []
    for number, path in enumerate(paths(urls)):
        kind, message, link = path.strip("/").split("/")
        assert kind == "c", path
        token, target = tokens.read_message(message), tokens.read_link(link)
        record = hit("GET", headers, "127.0.0.1", "click", token, target)
        lines.append(encode(replace(record, at=at + 100 * number)))
    partial = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.new"
    partial.write_bytes(b"".join(lines))
    partial.rename(partial.with_suffix(".seg"))
