"""Measures mails a second through the SMTP gateway, and through aiosmtpd that only relays."""

import asyncio
import email.message
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import uvloop
from aiosmtpd.smtp import SMTP, Envelope

from app.settings.load import load
from app.smtp.upstream import SmarthostConnection
from tests.bench import size
from tests.bench.rewrite import mail_of_50_kb
from tests.support.paths import ROOT
from tests.support.service import free_port
from tests.support.smtp_gateway import gateway

CLIENTS = 8
SECONDS = size("SECONDS", 6, 1)
ROUNDS = size("ROUNDS", 3, 1)


class Sink(asyncio.Protocol):
    """Accepts everything, as cheaply as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.tail, self.taking = b"", False
        self.transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        if self.taking:
            self.tail = (self.tail + data)[-5:]
            if self.tail == b"\r\n.\r\n":
                self.taking = False
                self.transport.write(b"250 kept\r\n")
            return
        for line in data.splitlines():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.transport.write(b"250-sink\r\n250-SIZE 50000000\r\n250 8BITMIME\r\n")
            elif verb == b"DATA":
                self.taking, self.tail = True, b""
                self.transport.write(b"354 go on\r\n")
            else:
                self.transport.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


class Relay:
    """aiosmtpd that relays unchanged, by the gateway's own connection to the smarthost."""

    def __init__(self, upstream: SmarthostConnection) -> None:
        self.upstream = upstream

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802
        await self.upstream.mail(str(envelope.mail_from), ())
        await self.upstream.rcpt(envelope.rcpt_tos[0])
        return str(await self.upstream.data(envelope.original_content or b""))


class LongLines(SMTP):
    line_length_limit = 100_000


async def plain(port: int, smarthost: str) -> None:
    loop = asyncio.get_running_loop()
    settings = load(smarthost=smarthost)
    server = await loop.create_server(
        lambda: LongLines(
            Relay(SmarthostConnection(settings)), data_size_limit=50_000_000, loop=loop
        ),
        "127.0.0.1",
        port,
    )
    await server.serve_forever()


async def sink(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


async def sending(port: int, message: bytes, until: float) -> int:
    """Run one client and return how many mails were answered with 250."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)

    async def ask(what: bytes, code: bytes) -> None:
        writer.write(what)
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        assert line.startswith(code), (what[:50], line)

    await ask(b"", b"220")
    await ask(b"EHLO bench\r\n", b"250")
    count = 0
    while time.perf_counter() < until:
        await ask(b"MAIL FROM:<shop@shop.example>\r\n", b"250")
        await ask(b"RCPT TO:<p%d@example.com>\r\n" % count, b"250")
        await ask(b"DATA\r\n", b"354")
        await ask(message + b".\r\n", b"250")
        count += 1
    writer.close()
    return count


async def rate(port: int, message: bytes) -> float:
    """Returns mails a second of all clients together."""
    start = time.perf_counter()
    work = (sending(port, message, start + SECONDS) for _ in range(CLIENTS))
    return sum(await asyncio.gather(*work)) / (time.perf_counter() - start)


def mails() -> Iterator[tuple[str, bytes]]:
    """Yields 50 KB of HTML as it is and as quoted-printable, and a short one."""
    html = mail_of_50_kb().decode()
    for name, content, encoding in (
        ("50 KB, quoted-printable", html, "quoted-printable"),
        ("50 KB, base64", html, "base64"),
        ("2 KB", '<body><a href="https://example.com/">x</a>' + "<p>hello</p>\n" * 150, "8bit"),
    ):
        message = email.message.EmailMessage()
        message["From"], message["To"], message["Subject"] = (
            "shop@shop.example",
            "ann@example.com",
            "x",
        )
        message.set_content(content, subtype="html", cte=encoding)
        yield name, message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@contextmanager
def process(what: str, *arguments: str) -> Iterator[None]:
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.smtp", what, *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")},
    )
    try:
        time.sleep(1.5)
        yield
    finally:
        running.terminate()
        running.wait()


def run() -> None:
    """Print rates and their ratio, measured by turns."""
    there, relay = free_port(), free_port()
    smarthost = f"smtp://127.0.0.1:{there}"
    with (
        tempfile.TemporaryDirectory() as folder,
        process("sink", str(there)),
        process("plain", str(relay), smarthost),
        gateway(Path(folder) / "data", smarthost) as running,
    ):
        for name, message in mails():
            rates_by_port: dict[int, list[float]] = {relay: [], running.port: []}
            for _ in range(ROUNDS):
                for port, rates in rates_by_port.items():
                    rates.append(uvloop.run(rate(port, message)))
            without, tracked = (sorted(rates)[ROUNDS // 2] for rates in rates_by_port.values())
            ratio = tracked / without
            print(f"{name}: {tracked:,.0f} a second, {without:,.0f} untracked, ratio {ratio:.2f}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if sys.argv[1:2] == ["sink"]:
            uvloop.run(sink(int(sys.argv[2])))
        elif sys.argv[1:2] == ["plain"]:
            uvloop.run(plain(int(sys.argv[2]), sys.argv[3]))
        else:
            run()
