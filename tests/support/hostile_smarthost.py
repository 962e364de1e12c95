"""Runs a smarthost with scripted faults at each command: it dies, refuses, is invalid or slow."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STAGES = ("greeting", "ehlo", "mail", "rcpt", "data", "body", "dot", "rset")


class Hostile:
    """`script` says what happens at a stage: close, reset, a reply, `never` an answer, or `slow`
    seconds before 250.

    `accepted` holds mails that were answered with 250, whether the client received it or not.
    """

    def __init__(self) -> None:
        self.script: dict[str, str] = {}
        self.accepted: list[bytes] = []
        self.commands: list[str] = []  # MAIL and RCPT, as they came
        self.port = 0

    def serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as file:
            if not self.answer(connection, "greeting", "220 hostile"):
                return
            while line := file.readline():
                verb = line.split()[0].decode("latin-1").lower().partition(":")[0]
                if verb in ("mail", "rcpt"):
                    self.commands.append(line.decode("latin-1").strip())
                if verb == "quit":
                    connection.sendall(b"221 bye\r\n")
                    return
                if verb == "data":
                    if not self.answer(connection, "data", "354 go on"):
                        return
                    goes_on = self.script.get("data", "354").startswith(("354", "slow"))
                    if goes_on and not self.body(connection, file):
                        return
                    continue
                fine = (
                    "250-hostile\r\n250-SIZE 50000000\r\n250 8BITMIME"
                    if verb == "ehlo"
                    else "250 ok"
                )
                if not self.answer(connection, verb, fine):
                    return

    def body(self, connection: socket.socket, file: object) -> bool:
        lines: list[bytes] = []
        if self.script.get("body"):
            connection.recv(1)
            self.answer(connection, "body", "")
            return False
        while (line := file.readline()) != b".\r\n":  # type: ignore[attr-defined]
            if not line:
                return False
            lines.append(re.sub(rb"\A\.", b"", line))
        what = self.script.get("dot", "")
        if not what or what.startswith(("250", "slow")):
            self.accepted.append(b"".join(lines))
        return self.answer(connection, "dot", f"250 kept {len(self.accepted)}")

    def answer(self, connection: socket.socket, stage: str, fine: str) -> bool:
        """Returns whether to continue."""
        what = self.script.get(stage, "")
        if what == "close":
            return False
        if what == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        if what == "half":
            connection.sendall(fine[:2].encode())
            return False
        if what == "never":
            connection.recv(65_536)  # until the client goes away
            return False
        if what.startswith("slow"):
            time.sleep(float(what.split()[1]))
            what = ""
        connection.sendall((what or fine).encode("latin-1") + b"\r\n")
        return True


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Run until the block ends."""
    smarthost = Hostile()
    listener = socket.create_server(("127.0.0.1", 0))
    smarthost.port = listener.getsockname()[1]

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=smarthost.serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield smarthost
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
