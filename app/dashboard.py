"""The dashboard: newsletters and what came back of them, live, and readable without JavaScript."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, cached_property, wraps
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode, urlsplit

from jinja2_fragments import render_block
from jinja2_fragments.starlette import Jinja2Blocks
from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import charts
from app.access import COOKIE, SESSION_SECONDS, Access, ThrottledError, local_path
from app.live import MAX_VIEWERS, Fragments, Live
from app.queries import SLOTS, AgentStats, NotFoundError, Queries, Split, Step, utc
from app.settings import ROOT, Settings, resource
from app.storage import StorageError

Show = Literal["human", "machine", "all"]
SHOWN: Mapping[Show, str] = {"human": "People", "machine": "Machines", "all": "All hits"}
ONE = "/newsletters/{newsletter_id:path}"
PAGE = 50  # newsletters on one page
RANKED = 8  # clients and devices
LINKS = 100
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
AWAY = (
    "The database is away. Pixels and links go on working and every hit is kept; the figures"
    " move again by themselves."
)
Endpoint = Callable[[Request], Awaitable[Response]]


class ForeignPostError(Exception):
    """A form that was sent from another site."""


class Dashboard:
    """Pages for people who are logged in. `notices` gives operational troubles to show on top."""

    def __init__(
        self,
        settings: Settings,
        queries: Queries,
        access: Access,
        live: Live,
        notices: Callable[[], list[str]],
    ) -> None:
        self._settings, self._queries, self._access, self._live = settings, queries, access, live
        self.templates = Jinja2Blocks(ROOT / "templates")
        self.templates.env.trim_blocks = self.templates.env.lstrip_blocks = True
        self.templates.env.filters |= {"number": _number, "rate": _rate, "when": _when}
        self.templates.env.globals |= {
            "asset": asset,
            "notices": notices,
            "page_url": page_url,
            "share": charts.share,
            "SHOWN": SHOWN,
        }

    @cached_property
    def routes(self) -> Sequence[BaseRoute]:
        """Everything but tracking and API."""
        inside = self._inside
        return (
            Route("/", inside(self.newsletters)),
            Route("/live", inside(self.newsletters_live, live=True)),
            Route(f"{ONE}/live", inside(self.newsletter_live, live=True)),
            Route(ONE, inside(self.newsletter)),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=resource("static")), name="static",
                  middleware=[Middleware(_Cached)]),
        )  # fmt: skip

    async def newsletters(self, request: Request) -> Response:
        """All newsletters, those that sent last first (?show=&page=)."""
        page = await asyncio.to_thread(self._newsletters, _show(request), _number_of_page(request))
        return self._page(request, "newsletters.html", page)

    async def newsletters_live(self, request: Request) -> Response:
        """The same, as it changes."""
        show, number = _show(request), _number_of_page(request)
        return self._stream(
            request, f"newsletters {show} {number}", "newsletters.html", ("totals", "list"),
            lambda: self._newsletters(show, number),
        )  # fmt: skip

    async def newsletter(self, request: Request) -> Response:
        """One newsletter (?show=)."""
        page = await asyncio.to_thread(self._newsletter, _newsletter_id(request), _show(request))
        return self._page(request, "newsletter.html", page)

    async def newsletter_live(self, request: Request) -> Response:
        """The same, as it changes."""
        newsletter_id, show = _newsletter_id(request), _show(request)
        with suppress(StorageError):  # a stream that starts now shows the figures later
            await asyncio.to_thread(self._queries.newsletter, newsletter_id)
        return self._stream(
            request, f"newsletter {show} {newsletter_id}", "newsletter.html",
            ("figures", "timeline", "links", "agents"),
            lambda: self._newsletter(newsletter_id, show),
        )  # fmt: skip

    async def login(self, request: Request) -> Response:
        """By password (POST) or by one-time code (GET ?code=)."""
        onward = local_path(request.query_params.get("next", "/"))
        problem, status = "", 200
        session = None
        if request.method == "POST":
            _same_site(request)
            address = request.client.host if request.client else ""
            form = await request.form(max_files=0, max_fields=8, max_part_size=4096)
            try:
                session = self._access.by_password(str(form.get("password", "")), address)
                problem, status = "That is not the password.", 403
            except ThrottledError as error:
                problem, status = f"Too many tries. Wait {error.seconds} seconds.", 429
        elif request.method == "GET" and (code := request.query_params.get("code")):
            session = self._access.by_code(code)
            problem, status = "That link was used before, or it is older than a day.", 403
        elif self._access.valid(request.cookies.get(COOKIE, "")):
            return RedirectResponse(onward, 303)
        if session is None:
            return self._page(request, "login.html", {"problem": problem}, status)
        response = RedirectResponse(onward, 303, {"cache-control": "no-store"})
        response.set_cookie(
            COOKIE, session, SESSION_SECONDS, httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    async def logout(self, request: Request) -> Response:
        """Forget the session in this browser."""
        _same_site(request)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    def problem(self, request: Request, status: int, title: str, detail: str) -> Response:
        """An error's page; one of status 503 looks again by itself, without JavaScript too."""
        response = self._page(request, "error.html", {"title": title, "detail": detail}, status)
        if status == 503:
            response.headers["refresh"] = "5"
        return response

    def _inside(self, endpoint: Endpoint, live: bool = False) -> Endpoint:
        """Only for who is logged in; errors become pages."""

        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            if not self._access.valid(request.cookies.get(COOKIE, "")):
                if live:  # a stream cannot follow to the login
                    return Response(status_code=401, headers=HEADERS)
                here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)
            try:
                return await endpoint(request)
            except NotFoundError as error:
                return self.problem(request, 404, "Nothing here", f"The {error}.")
            except StorageError:
                return self.problem(request, 503, "The figures are not at hand", AWAY)

        return guarded

    def _page(
        self, request: Request, name: str, page: Mapping[str, Any], status: int = 200
    ) -> Response:
        page = {"url": self._settings.public_url, **page}
        return self.templates.TemplateResponse(request, name, page, status, dict(HEADERS))

    def _stream(
        self,
        request: Request,
        key: str,
        name: str,
        blocks: Iterable[str],
        look: Callable[[], Mapping[str, Any]],
    ) -> Response:
        """The blocks of a template as they change; `look` asks the database for their figures."""
        if self._live.viewers >= MAX_VIEWERS:
            return Response("too many viewers\n", 503, {"retry-after": "30"})

        def render() -> Fragments:
            try:
                page = {"url": self._settings.public_url, **look()}
            except StorageError:
                return {"notices": self._block("base.html", "notices", {"away": AWAY})}
            found = {block: self._block(name, block, page) for block in blocks}
            return {"notices": self._block("base.html", "notices", {}), **found}

        events = self._live.watch(key, render, request.headers.get("last-event-id", ""))
        return EventSourceResponse(events, headers={"cache-control": "no-store"}, ping=20)

    def _block(self, name: str, block: str, page: Mapping[str, Any]) -> str:
        return render_block(self.templates.env, name, block, page)

    def _newsletters(self, show: Show, number: int) -> dict[str, Any]:
        rows = self._queries.newsletters(PAGE + 1, (number - 1) * PAGE)
        more, rows = len(rows) > PAGE, rows[:PAGE]
        lines = {row["newsletter"]: [0] * SLOTS for row in rows}
        for slot in self._queries.sparklines(rows):
            lines[slot["newsletter"]][slot["slot"]] = slot[f"{show}_total"]
        return {
            "show": show,
            "rows": [
                {
                    **row,
                    "opened": row[f"opens_{show}_unique"],
                    "clicked": row[f"clicks_{show}_unique"],
                    "sparkline": charts.sparkline(lines[row["newsletter"]]),
                }
                for row in rows
            ],
            "totals": self._totals(show),
            "switch": {value: f"/?show={value}" for value in SHOWN},
            "live": f"/live?show={show}&page={number}",
            "newer": f"/?show={show}&page={number - 1}" if number > 1 else "",
            "older": f"/?show={show}&page={number + 1}" if more else "",
        }

    def _totals(self, show: Show) -> dict[str, int]:
        row = self._queries.run("newsletters_totals")[0]
        return {
            "messages": row["messages"],
            "opened": row[f"opens_{show}_unique"],
            "clicked": row[f"clicks_{show}_unique"],
            "unsubscribes": row["unsubscribes"],
        }

    def _newsletter(self, newsletter_id: str, show: Show) -> dict[str, Any]:
        stats = self._queries.stats(newsletter_id)
        links = self._queries.links(newsletter_id)
        agents = self._queries.agents(newsletter_id)
        links.sort(key=lambda link: -getattr(link, show).unique)
        return {
            "newsletter": self._queries.newsletter(newsletter_id),
            "stats": stats,
            "show": show,
            "switch": {value: page_url(newsletter_id, show=value) for value in SHOWN},
            "live": page_url(newsletter_id, live=True, show=show),
            "opens": getattr(stats.opens, show),
            "clicks": getattr(stats.clicks, show),
            "links": [(link, getattr(link, show)) for link in links[:LINKS]],
            "unlisted": len(links[LINKS:]),
            "rankings": {
                "Clients": _ranking(agents.clients, "client", show),
                "Devices": _ranking(agents.devices, "device", show),
            },
            **self._timeline(newsletter_id, show, stats.updated_at),
        }

    def _timeline(self, newsletter_id: str, show: Show, last: datetime | None) -> dict[str, Any]:
        sent, now = self._queries.sent(newsletter_id), datetime.now(UTC)
        first = utc(sent["first_at"]) if sent["messages"] else last or now
        starts, step = shown = charts.window(first, last or now, now)
        points = self._queries.timeline(newsletter_id, starts[0], shown.end, step)
        found = {point.at: _column(point, show) for point in points}
        columns = [found.get(at, charts.Column(0, 0, 0, 0)) for at in starts]
        titles = [
            f"{_when(at, step)} UTC: {column.told}"
            for at, column in zip(starts, columns, strict=True)
        ]
        return {
            "step": step,
            "times": list(zip(starts, columns, strict=True)),
            "top": charts.ceiling(max(column.highest for column in columns)),
            "chart": charts.timeline(columns, titles),
        }


class _Cached:
    """Static files carry a hash in their address, so clients may keep them for good."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                hashed = b"v=" in scope.get("query_string", b"")
                age = b"public, max-age=31536000, immutable" if hashed else b"no-cache"
                nosniff = (b"x-content-type-options", b"nosniff")
                message["headers"] += [(b"cache-control", age), nosniff]
            await send(message)

        await self._app(scope, receive, with_headers)


@cache
def asset(name: str) -> str:
    """The address of a static file, with a hash of its content."""
    content = (resource("static") / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def page_url(newsletter_id: str, live: bool = False, **query: str) -> str:
    """The address of a newsletter's page; its id may hold any character.

    What servers and browsers would read as path is encoded twice: servers decode once before
    slashes are told apart, and browsers resolve `.` and `..`, encoded once as well.
    """
    twice = newsletter_id.replace("%", "%25").replace("/", "%2F")
    if twice in (".", ".."):
        twice = twice.replace(".", "%2E")
    path = f"/newsletters/{quote(twice, safe='')}{'/live' if live else ''}"
    return f"{path}?{urlencode(query)}" if query else path


def _newsletter_id(request: Request) -> str:
    return unquote(request.path_params["newsletter_id"])


def _show(request: Request) -> Show:
    asked = request.query_params.get("show")
    return next((show for show in SHOWN if show == asked), "human")


def _number_of_page(request: Request) -> int:
    asked = request.query_params.get("page", "")
    return int(asked) if asked.isascii() and asked.isdigit() and 0 < int(asked[:6]) < 10**5 else 1


def _same_site(request: Request) -> None:
    """Refuse a POST that another site's page has made (Fetch metadata, else Origin)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        ours = urlsplit(origin).netloc == request.headers.get("host")  # `null` has no netloc
    else:
        ours = site in (None, "same-origin", "none")
    if not ours:
        raise ForeignPostError


def _column(step: Step, show: Show) -> charts.Column:
    return charts.Column(*_pair(step.opens, show), *_pair(step.clicks, show))


def _pair(split: Split, show: Show) -> tuple[int, int]:
    human = split.human.total if show != "machine" else 0
    return human, split.machine.total if show != "human" else 0


def _ranking(found: Sequence[AgentStats], part: str, show: Show) -> list[tuple[str, int, float]]:
    """Name, hits and share of the commonest, and of all others together."""
    counted = [(agent.name, getattr(agent, show)) for agent in found if getattr(agent, show) > 0]
    counted.sort(key=lambda pair: -pair[1])
    whole = sum(hits for _, hits in counted)
    ranked = [
        ((name.capitalize() if part == "device" else name) or f"Unknown {part}", hits)
        for name, hits in counted[:RANKED]
    ]
    if others := sum(hits for _, hits in counted[RANKED:]):
        ranked.append(("Others", others))
    return [(name, hits, hits / whole) for name, hits in ranked]


def _number(value: int) -> str:
    return f"{value:,}"


def _rate(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "\u2013"


def _when(at: datetime, step: int) -> str:
    shown = "%d %b %Y" if step >= 86_400 else "%d %b %H:%M" if step >= 60 else "%d %b %H:%M:%S"
    return utc(at).strftime(shown)
