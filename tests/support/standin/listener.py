"""Serves on a port that refuses and resets connections on command."""

import asyncio
import socket
import struct
from typing import cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Listener:
    """An ASGI application on a loopback port that can go down and come up again."""

    def __init__(self, app: Starlette, port: int) -> None:
        self._app = app
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._task: asyncio.Task[None] | None = None

    async def up(self) -> None:
        config = uvicorn.Config(self._app, http="httptools", lifespan="off", log_config=None)
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        # Not serve(): it would handle the signals, which main() below does.
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()  # raises the task's error
            await asyncio.sleep(0)

    async def down(self) -> None:
        """Refuse new connections and reset open ones; the port stays reserved."""
        if self._task is None:
            return
        for server in self._server.servers:
            server.close()
        self.reset(None)
        self._server.should_exit = self._server.force_exit = True
        await self._task
        self._task = None
        self._socket = _bound(self.port)

    def reset(self, client: tuple[str, int] | None) -> None:
        """Send RST on the connection of `client`, or on every one."""
        for protocol in list(self._server.server_state.connections):
            transport = cast(HttpToolsProtocol, protocol).transport
            if client in (None, transport.get_extra_info("peername")):
                linger = struct.pack("ii", 1, 0)  # on, for no time: close() then sends RST
                peer = transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()


def _bound(port: int) -> socket.socket:
    """Returns a socket that does not listen: connections are refused, and the port is reserved."""
    # asyncio sets TCP_NODELAY only if it knows the protocol: else each answer waits 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound
