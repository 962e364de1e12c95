"""Answers GET|HEAD /o/{message}.gif and /c/{message}/{link} in ASGI, before everything else.

Requests that are whole and simple do not even get here: see `server.tracking_protocol`.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.storage.journal import Journal, JournalError
from app.tracking.tracker import Tracker

PATHS = ("/o/", "/c/")


class TrackingMiddleware:
    """ASGI middleware that answers pixels and redirects itself and passes on everything else."""

    def __init__(self, app: ASGIApp, tracker: Tracker, journal: Journal) -> None:
        self.app, self.tracker, self.journal = app, tracker, journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/o/` and `/c/`, once the hit is in the journal; pass on all other requests."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.startswith(PATHS):
            await self.app(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        ip = (scope["client"] or ("",))[0]
        answer, kind, line = self.tracker.decide(
            scope["method"], path, host, dict(scope["headers"]), ip
        )
        if line:
            try:
                await self.journal.write(line)
            except JournalError as error:
                self.tracker.count(kind, error.reason)
            else:
                self.tracker.count(kind)
        start = {"status": answer.status, "headers": answer.fields}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": answer.body})
