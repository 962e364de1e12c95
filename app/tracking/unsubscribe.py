"""Unsubscribe: GET /u/{message} shows a button and changes nothing, POST unsubscribes.

The address and the POST body are RFC 8058's: mailbox providers send `List-Unsubscribe=One-Click`,
the page's button posts to the same place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from app.model.records import Hit, encode, now_ms
from app.model.tracking_modes import modes
from app.storage.journal import Journal
from app.tracking.tokens import BadTokenError, MessageToken, TokenReaders, Tokens, read_damaged


@dataclass(frozen=True)
class Unsubscribe:
    """The page and the one-click address. `reader` gives a host's reader of tokens, `visitor` what
    is kept of an address.
    """

    reader: Callable[[str], Tokens | TokenReaders]
    journal: Journal
    templates: Jinja2Templates
    visitor: Callable[[str], str] = str

    @property
    def routes(self) -> Sequence[Route]:
        """For the application's router."""
        return (Route("/u/{token:path}", self.endpoint, methods=["GET", "POST"]),)

    async def endpoint(self, request: Request) -> Response:
        """Repeating the POST changes nothing more: unsubscribes count distinct messages."""
        try:
            reader = self.reader(request.headers.get("host", ""))
            token = read_damaged(reader.read_unsubscribe, request.path_params["token"])
        except BadTokenError:
            return self._page(request, "damaged", 404)
        if request.method != "POST":
            return self._page(request, "ask", 200)
        await self.journal.write(encode(self._hit(request, token)))
        return self._page(request, "done", 200)

    def _hit(self, request: Request, token: MessageToken) -> Hit:
        """Whose it is must be known; with what it came, only where hits are kept by person."""
        address = request.client.host if request.client else ""
        agent = request.headers.get("user-agent", "")[:512]
        personal = modes(token.flags).personal
        return Hit(
            "unsubscribe",
            now_ms(),
            token.workspace,
            token.newsletter,
            token.message.hex(),
            token.recipient,
            variant=token.variant,
            method=request.method,
            address=self.visitor(address) if personal else "",
            user_agent=agent if personal else "",
        )

    def _page(self, request: Request, state: str, status: int) -> HTMLResponse:
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return self.templates.TemplateResponse(
            request, "unsubscribe.html", {"state": state}, status_code=status, headers=headers
        )
