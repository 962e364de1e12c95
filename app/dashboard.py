"""The dashboard: newsletters and what came back of them, live, and readable without JavaScript."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from jinja2_fragments.starlette import Jinja2Blocks
from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app import charts
from app.access import COOKIE, SESSION_SECONDS, Access, ThrottledError
from app.live import MAX_VIEWERS, Fragments, Live
from app.queries import NotFoundError, Queries, Split, Step, utc
from app.settings import ROOT, Settings, resource
from app.storage import Row, StorageError

Show = Literal["human", "machine", "all"]
SHOWN: Mapping[str, str] = {"human": "People", "machine": "Machines", "all": "All hits"}
STEPS = (2, 5, 10, 30, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
COLUMNS = 72  # at most, in a timeline
LISTED = 200
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
Endpoint = Callable[[Request], Any]


@dataclass(frozen=True)
class Timeline:
    """Columns of a chart: `rows` pairs each step's start with its figures."""

    rows: Sequence[tuple[datetime, charts.Column]]
    step: int

    @property
    def svg(self) -> str:
        """The drawing."""
        return charts.timeline([column for _, column in self.rows])

    @property
    def top(self) -> int:
        """The value at the chart's upper edge."""
        return charts.ceiling(max((column.highest for _, column in self.rows), default=0))


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
            Route("/live", inside(self.newsletters_live)),
            Route("/newsletters/{newsletter_id:path}/live", inside(self.newsletter_live)),
            Route("/newsletters/{newsletter_id:path}", inside(self.newsletter)),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=resource("static")), name="static",
                  middleware=[Middleware(_Cached)]),
        )  # fmt: skip

    async def newsletters(self, request: Request) -> Response:
        """All newsletters, the latest active first."""
        page = await asyncio.to_thread(self._newsletters)
        return self._page(request, "newsletters.html", page)

    async def newsletters_live(self, request: Request) -> Response:
        """The same, as it changes."""
        return self._stream(request, "newsletters", lambda: self._fragments(
            "newsletters.html", self._newsletters(), ("totals", "list")))  # fmt: skip

    async def newsletter(self, request: Request) -> Response:
        """One newsletter."""
        newsletter_id, show = _asked(request)
        page = await asyncio.to_thread(self._newsletter, newsletter_id, show)
        return self._page(request, "newsletter.html", page)

    async def newsletter_live(self, request: Request) -> Response:
        """The same, as it changes."""
        newsletter_id, show = _asked(request)
        blocks = ("figures", "timeline", "links", "agents")
        return self._stream(request, f"{show} {newsletter_id}", lambda: self._fragments(
            "newsletter.html", self._newsletter(newsletter_id, show), blocks))  # fmt: skip

    async def login(self, request: Request) -> Response:
        """By password (POST) or by one-time code (GET ?code=)."""
        onward = _local(request.query_params.get("next", "/"))
        problem, status = "", 200
        session = None
        if request.method == "POST":
            _same_site(request)
            address = request.client.host if request.client else ""
            form = await request.form()
            try:
                session = self._access.by_password(str(form.get("password", "")), address)
                problem, status = "That is not the password.", 403
            except ThrottledError as error:
                problem, status = f"Too many tries. Wait {error.seconds} seconds.", 429
        elif code := request.query_params.get("code"):
            session = self._access.by_code(code)
            problem, status = "That link was used before, or it is older than a day.", 403
        elif self._access.valid(request.cookies.get(COOKIE, "")):
            return RedirectResponse(onward, 303)
        if session is None:
            page = {"problem": problem, "secrets": self._settings.data_dir / "secrets.json"}
            return self._page(request, "login.html", page, status)
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
        """An error's page."""
        page = {"title": title, "detail": detail, "status": status}
        return self._page(request, "error.html", page, status)

    def _inside(self, endpoint: Endpoint) -> Endpoint:
        """Only for who is logged in; errors become pages."""

        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            if not self._access.valid(request.cookies.get(COOKIE, "")):
                here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)
            try:
                response: Response = await endpoint(request)
            except NotFoundError as error:
                return self.problem(request, 404, "Nothing here", f"The {error}.")
            except StorageError:
                return self.problem(
                    request, 503, "The database is away",
                    "Pixels and links go on working and every hit is kept. This page comes back"
                    " by itself.",
                )  # fmt: skip
            return response

        return guarded

    def _page(
        self, request: Request, name: str, page: Mapping[str, Any], status: int = 200
    ) -> Response:
        return self.templates.TemplateResponse(
            request, name, {"url": self._settings.public_url, **page}, status, dict(HEADERS)
        )

    def _stream(self, request: Request, key: str, render: Callable[[], Fragments]) -> Response:
        if self._live.viewers >= MAX_VIEWERS:
            return Response("too many viewers\n", 503, {"retry-after": "30"})
        events = self._live.watch(key, render, request.headers.get("last-event-id", ""))
        return EventSourceResponse(events, headers={"cache-control": "no-store"}, ping=20)

    def _fragments(self, name: str, page: Mapping[str, Any], blocks: Iterable[str]) -> Fragments:
        template = self.templates.env.get_template(name)
        found = {}
        for block in blocks:
            context = template.new_context({"url": self._settings.public_url, **page})
            found[block] = "".join(template.blocks[block](context))
        return found

    def _newsletters(self) -> dict[str, Any]:
        rows = self._queries.newsletters(LISTED)
        now = int(datetime.now(UTC).timestamp() * 1000)
        lines: dict[int, list[int]] = {}
        for row in self._queries.run("newsletters_sparklines", now_ms=now):
            lines.setdefault(row["newsletter"], [0] * 24)[row["slot"]] = row["hits"]
        for row in rows:
            row["sparkline"] = charts.sparkline(lines.get(row["newsletter"], []))
        names = ("messages", "opens_human_unique", "clicks_human_unique", "unsubscribes")
        return {"rows": rows, "totals": {name: sum(row[name] for row in rows) for name in names}}

    def _newsletter(self, newsletter_id: str, show: Show) -> dict[str, Any]:
        stats = self._queries.stats(newsletter_id)
        links = self._queries.links(newsletter_id)
        agents = self._queries.run("newsletter_agents", newsletter=self._queries.key(newsletter_id))
        ranked = sorted(links, key=lambda link: -getattr(link, show).unique)
        return {
            "newsletter": self._queries.newsletter(newsletter_id),
            "stats": stats,
            "show": show,
            "opens": getattr(stats.opens, show),
            "clicks": getattr(stats.clicks, show),
            "timeline": self._timeline(newsletter_id, show),
            "links": [(link, getattr(link, show)) for link in ranked[:100]],
            "clients": _ranking(agents, "client", "Unknown client"),
            "devices": _ranking(agents, "device", "Unknown device"),
        }

    def _timeline(self, newsletter_id: str, show: Show) -> Timeline:
        sent = self._queries.sent(newsletter_id)
        end = datetime.now(UTC)
        start = utc(sent["first_at"]) if sent["messages"] else end
        span = (end - start).total_seconds()
        step = next((step for step in STEPS if span / step <= COLUMNS - 1), STEPS[-1])
        last = int(end.timestamp()) // step
        columns = min(max(last - int(start.timestamp()) // step + 1, 12), 10 * COLUMNS)
        times = [
            datetime.fromtimestamp(number * step, UTC)
            for number in range(last - columns + 1, last + 1)
        ]
        points = self._queries.timeline(newsletter_id, times[0], end, step)
        found = {point.at: point for point in points}
        return Timeline([(at, _column(found.get(at), show)) for at in times], step)


class _Cached:
    """Static files carry a hash in their address, so clients may keep them for good."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                hashed = b"v=" in scope.get("query_string", b"")
                age = b"public, max-age=31536000, immutable" if hashed else b"no-cache"
                nosniff = (b"x-content-type-options", b"nosniff")
                message["headers"] += [(b"cache-control", age), nosniff]
            await send(message)

        await self._app(scope, receive, with_headers)


_hashes: dict[str, str] = {}


def asset(name: str) -> str:
    """The address of a static file, with a hash of its content."""
    if name not in _hashes:
        content = (Path(resource("static")) / name).read_bytes()
        _hashes[name] = hashlib.sha256(content).hexdigest()[:12]
    return f"/static/{name}?v={_hashes[name]}"


def page_url(newsletter_id: str, live: bool = False, **query: str) -> str:
    """The address of a newsletter's page; its id may hold any character."""
    chosen = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    path = quote(newsletter_id.replace("%", "%25").replace("/", "%2F"), safe="")
    return f"/newsletters/{path}{'/live' if live else ''}{'?' + chosen if chosen else ''}"


def _asked(request: Request) -> tuple[str, Show]:
    """The path's id was encoded twice: servers decode it once, before slashes are told apart."""
    newsletter_id = unquote(request.path_params["newsletter_id"])
    show = request.query_params.get("show", "human")
    known: Show = "machine" if show == "machine" else "all" if show == "all" else "human"
    return newsletter_id, known


def _local(path: str) -> str:
    """Where to go after login: a path of this site and nothing else."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.scheme and not parts.netloc else "/"


def _same_site(request: Request) -> None:
    """Refuse a POST that another site's page has made (Fetch metadata, else Origin)."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in (None, "same-origin", "none") or (
        site is None and origin not in (None, "null") and urlsplit(origin or "").netloc != host
    ):
        raise ForeignPostError


class ForeignPostError(Exception):
    """A form that was sent from another site."""


def _column(step: Step | None, show: Show) -> charts.Column:
    if step is None:
        return charts.Column(0, 0, 0, 0)
    return charts.Column(
        *_pair(step.opens, show),
        *_pair(step.clicks, show),
    )


def _pair(split: Split, show: Show) -> tuple[int, int]:
    human = split.human.total if show != "machine" else 0
    return human, split.machine.total if show != "human" else 0


def _ranking(rows: Sequence[Row], column: str, unknown: str) -> list[tuple[str, int]]:
    totals: Counter[str] = Counter()
    for row in rows:
        totals[str(row[column]) or unknown] += row["human_unique"]
    return [(name.capitalize() if column == "device" else name, n)
            for name, n in totals.most_common(8)]  # fmt: skip


def _number(value: int) -> str:
    return f"{value:,}"


def _rate(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "\u2013"


def _when(at: datetime, step: int) -> str:
    shown = "%d %b %Y" if step >= 86_400 else "%d %b %H:%M" if step >= 60 else "%d %b %H:%M:%S"
    return utc(at).strftime(shown)
