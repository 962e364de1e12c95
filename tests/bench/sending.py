"""Measures tokens alone, and recipients a second by the NDJSON endpoint of a real server."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from app.tracking.tokens import LinkToken, MessageToken, Tokens
from mailwake_client import Mailwake
from tests.bench import size
from tests.bench.rewrite import best, mail_of_50_kb
from tests.support.service import FirstStart

RECIPIENTS = size("RECIPIENTS", 100_000, 200)


def run() -> None:
    """Print everything in one run."""
    tokens = Tokens(["a signing key for the bench, of no use elsewhere"])
    whom = MessageToken(os.urandom(16), 1, 2)
    signed = tokens.message(whom)
    link = tokens.link(LinkToken(1, 2, "https://www.example.com/products/boots?utm_source=mail"))
    for name, work in (
        ("sign a message token", lambda: tokens.message(whom)),
        ("read a message token", lambda: tokens.read_message(signed)),
        ("read a link token", lambda: tokens.read_link(link)),
    ):
        print(f"{name}: {1 / best(partial(often, work)) * 10_000:,.0f} a second")
    with tempfile.TemporaryDirectory() as folder, FirstStart(Path(folder) / "data") as service:
        mailwake = Mailwake(service.url, service.api_key, timeout=300)
        mailwake.keep_template("bench", mail_of_50_kb().decode())
        start = time.perf_counter()
        count = sum(1 for _ in mailwake.messages("bench", people(RECIPIENTS), "token"))
        rate = count / (time.perf_counter() - start)
        print(f"NDJSON, return=token: {rate:,.0f} recipients a second")
        start = time.perf_counter()
        count = sum(1 for _ in mailwake.messages("bench", people(RECIPIENTS // 20)))
        rate = count / (time.perf_counter() - start)
        print(f"NDJSON, 50 KB of HTML each: {rate:,.0f} recipients a second")
        mailwake.close()


def often(work: Callable[[], object]) -> None:
    for _ in range(10_000):
        work()


def people(count: int) -> Iterator[str]:
    return (f"{number}@example.com" for number in range(count))


if __name__ == "__main__":
    run()
