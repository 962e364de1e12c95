"""Unsubscribes recipients: GET /u/{message} shows a button and changes nothing, POST unsubscribes.

URL and POST body follow RFC 8058: mailbox providers post `List-Unsubscribe=One-Click`, and the
page's button posts to the same URL.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from app.model.records import Hit, encode, now_ms
from app.model.tracking_modes import modes
from app.storage.journal import Journal
from app.tracking.hit_from_request import AGENT_BYTES
from app.tracking.tokens import BadTokenError, MessageToken, TokenReaders, Tokens, read_damaged

ONE_CLICK = ("List-Unsubscribe", "One-Click")
MAX_BODY_BYTES = 4_096


@dataclass(frozen=True)
class Unsubscribe:
    """Serves the unsubscribe page and the one-click URL.

    `reader` returns the tokens that are valid on a host, `visitor` what may be kept of an IP
    address.
    """

    reader: Callable[[str], Tokens | TokenReaders]
    journal: Journal
    templates: Jinja2Templates
    visitor: Callable[[str], str] = str

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        return (Route("/u/{token:path}", self.endpoint, methods=["GET", "POST"]),)

    async def endpoint(self, request: Request) -> Response:
        """Show the page, or record an unsubscribe.

        Repeating the POST changes no figure: unsubscribes count distinct messages.
        """
        try:
            reader = self.reader(request.headers.get("host", ""))
            token = read_damaged(reader.read_unsubscribe, request.path_params["token"])
        except BadTokenError:
            return self._page(request, "damaged", 404)
        if request.method != "POST":
            return self._page(request, "ask", 200)
        if not await _is_one_click(request):
            return self._page(request, "ask", 400)
        await self.journal.write(encode(self._hit(request, token)))
        return self._page(request, "done", 200)

    def _hit(self, request: Request, token: MessageToken) -> Hit:
        """Returns the hit, always with its recipient.

        IP address and user agent are kept only if hits are kept with their recipients.
        """
        ip = request.client.host if request.client else ""
        agent = request.headers.get("user-agent", "")[:AGENT_BYTES]
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
            address=self.visitor(ip) if personal else "",
            user_agent=agent if personal else "",
        )

    def _page(self, request: Request, state: str, status: int) -> HTMLResponse:
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return self.templates.TemplateResponse(
            request, "unsubscribe.html", {"state": state}, status_code=status, headers=headers
        )


async def _is_one_click(request: Request) -> bool:
    """Returns whether the body is a form with `List-Unsubscribe=One-Click`, as providers send it.

    RFC 8058, section 3.1, allows both types of forms.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return False
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MAX_BODY_BYTES)
        return fields.get(ONE_CLICK[0]) == [ONE_CLICK[1]]
    form = message_from_bytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body)
    return any(
        part.get_param("name", header="content-disposition") == ONE_CLICK[0]
        and str(part.get_payload()).strip() == ONE_CLICK[1]
        for part in form.walk()
    )
