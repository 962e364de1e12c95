"""Dashboard pages on which something is done: webhooks, and segments of recipients."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.events import followup_config, webhook_config
from app.events.webhooks import (
    Webhook,
    Webhooks,
    delivery_out,
)
from app.model.errors import FieldError, NotFoundError
from app.schemas import webhooks as acting
from app.schemas.fields import (
    SegmentName,
)
from app.schemas.followups import (
    FollowUpIn,
)
from app.schemas.problem import explain
from app.schemas.segments import Segment
from app.stats import segments
from app.stats.segments import NAMED
from app.web.dashboard.pages import HEADERS, Dashboard, workspace_context
from app.web.requests import streamed

LOGGED = 50  # deliveries on a page
SHOWN = 50  # recipients of a segment
OFFERED = 200  # newsletters to choose from
FORMATS = {"csv": ("CSVWithNames", "text/csv"), "json": ("JSONEachRow", "application/x-ndjson")}


@dataclass(frozen=True)
class Actions:
    """Pages of who is logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """For the application's router."""
        requires_login = self.dashboard.requires_login
        one, rules = "/webhooks/{webhook_id}", "/webhooks/followups"
        return (
            Route("/webhooks", requires_login(self.list)),
            Route("/webhooks", requires_login(self.add, "editor"), methods=["POST"]),
            Route(rules, requires_login(self.rules)),
            Route(rules, requires_login(self.follow, "editor"), methods=["POST"]),
            Route(
                f"{rules}/{{followup_id}}/remove",
                requires_login(self.unfollow, "editor"),
                methods=["POST"],
            ),
            Route(one, requires_login(self.one)),
            Route(f"{one}/live", requires_login(self.live, live=True)),
            Route(f"{one}/{{action}}", requires_login(self.act, "editor"), methods=["POST"]),
            Route("/segments", requires_login(self.segment)),
            Route("/segments", requires_login(self.save, "editor"), methods=["POST"]),
            Route("/segments/export", requires_login(self.export)),
        )

    async def list(self, request: Request) -> Response:
        """Every webhook, and a form for a new one."""
        return await self._list(request, {}, "", 200)

    async def _list(
        self, request: Request, given: dict[str, Any], problem: str, status: int
    ) -> Response:
        found = await asyncio.to_thread(workspace_context(request).webhooks.all)
        page = {
            "hooks": found,
            "types": webhook_config.EVENT_TYPES,
            "given": given,
            "problem": problem,
        }
        return self.dashboard.page(request, "webhooks.html", page, status)

    async def add(self, request: Request) -> Response:
        """Make the form's webhook, or say which field is wrong."""
        form = await request.form()
        given = _given(form)
        try:
            wanted = msgspec.convert(given, acting.WebhookIn)
            webhook_config.valid(wanted)
        except (msgspec.ValidationError, FieldError) as error:
            return await self._list(request, given, _problem(error), 422)
        filters = webhook_config.filters_of(wanted)
        parts = workspace_context(request)
        at = await asyncio.to_thread(parts.feed.last)
        hook = await asyncio.to_thread(parts.webhooks.add, wanted.url, filters, wanted.first, at)
        return RedirectResponse(f"/webhooks/{hook.id}", 303)

    async def one(self, request: Request) -> Response:
        """One webhook with its delivery log."""
        hook = await self._known(request)
        page = await asyncio.to_thread(_log, workspace_context(request).webhooks, hook)
        return self.dashboard.page(request, "webhook.html", page)

    async def live(self, request: Request) -> Response:
        """The log as it grows."""
        hook, known = await self._known(request), workspace_context(request).webhooks
        return self.dashboard.stream(
            request,
            f"webhook {hook.id}",
            "webhook.html",
            ("log",),
            lambda: _log(known, known.get(hook.id) or hook),
        )

    async def act(self, request: Request) -> Response:
        """Test, enable, replay or remove a webhook."""
        hook, action = await self._known(request), request.path_params["action"]
        known = workspace_context(request).webhooks
        if action == "remove":
            await asyncio.to_thread(known.remove, hook.id)
            return RedirectResponse("/webhooks", 303)
        if action == "test":
            await asyncio.to_thread(known.test, hook)
        elif action == "enable":
            await asyncio.to_thread(known.enable, hook.id)
        elif action == "replay":
            await asyncio.to_thread(known.replay, hook.id)
        else:
            raise NotFoundError("action", f"action {action!r} is unknown")
        return RedirectResponse(f"/webhooks/{hook.id}", 303)

    async def rules(self, request: Request) -> Response:
        """Every follow-up, and a form for a new one."""
        return await self._rules(request, {}, "", 200)

    async def _rules(
        self, request: Request, given: dict[str, Any], problem: str, status: int
    ) -> Response:
        parts = workspace_context(request)
        found = await asyncio.to_thread(parts.followups.all)
        urls = {hook.id: hook.url for hook in await asyncio.to_thread(parts.webhooks.all)}
        page = {"followups": found, "urls": urls, "given": given, "problem": problem}
        return self.dashboard.page(request, "followups.html", page, status)

    async def follow(self, request: Request) -> Response:
        """Make the form's follow-up, or say which field is wrong."""
        form = await request.form()
        named = ("name", "webhook_id", "when", "after_hours")
        given = {name: str(form.get(name, "")).strip() for name in named}
        listed = {name: _lines(form, name) for name in ("newsletters", "labels", "tags")}
        try:
            hours = {"after_hours": given["after_hours"] or 0}
            wanted = msgspec.convert({**given, **hours, **listed}, FollowUpIn, strict=False)
            parts = workspace_context(request)
            await asyncio.to_thread(
                followup_config.make, parts.followups, parts.webhooks, parts.feed, wanted
            )
        except (msgspec.ValidationError, FieldError) as error:
            return await self._rules(request, {**given, **listed}, _problem(error), 422)
        return RedirectResponse("/webhooks/followups", 303)

    async def unfollow(self, request: Request) -> Response:
        """Take a follow-up off."""
        await asyncio.to_thread(
            workspace_context(request).followups.remove, request.path_params["followup_id"]
        )
        return RedirectResponse("/webhooks/followups", 303)

    async def segment(self, request: Request) -> Response:
        """Recipients by what they did: a form, and the first of them."""
        query, queries = request.query_params, workspace_context(request).queries
        wanted, problem = _segment(query)
        asked = any(query.get(name) for name in (*NAMED, "clicked_tag", "since"))
        rows = []
        if asked and not problem:
            rows = list(await asyncio.to_thread(segments.first, queries, wanted, SHOWN + 1))
        given = {name: query.get(name, "") for name in (*NAMED, "clicked_tag", "since")}
        kept = await asyncio.to_thread(workspace_context(request).segments.all)
        offered = await asyncio.to_thread(queries.newsletters, limit=OFFERED)
        page = {
            "given": given,
            "problem": problem,
            "rows": rows[:SHOWN],
            "asked": asked,
            "saved": {name: segment_url(one) for name, one in kept.items()},
            "offered": offered,
            "more": len(rows) > SHOWN,
            "query": urlencode({name: value for name, value in given.items() if value}),
        }
        return self.dashboard.page(request, "segments.html", page, 422 if problem else 200)

    async def save(self, request: Request) -> Response:
        """Save the segment of the address under a name, or forget that name."""
        form = await request.form()
        name = str(form.get("name", "")).strip()
        back = RedirectResponse(f"/segments?{request.url.query}", 303)
        if form.get("forget"):
            await asyncio.to_thread(workspace_context(request).segments.remove, name)
            return back
        wanted, problem = _segment(request.query_params)
        try:
            msgspec.convert(name, SegmentName)
        except msgspec.ValidationError:
            problem = problem or "A name has 1 to 100 characters."
        if problem:
            return self.dashboard.problem(request, 422, "That segment was not saved", problem)
        await asyncio.to_thread(workspace_context(request).segments.put, name, wanted)
        return back

    async def export(self, request: Request) -> Response:
        """The whole segment as a file."""
        wanted, problem = _segment(request.query_params)
        form = request.query_params.get("format", "csv")
        if problem or form not in FORMATS:
            told = problem or f"format must be one of {', '.join(FORMATS)}"
            return self.dashboard.problem(request, 422, "That segment means nothing", told)
        parts = segments.chunks(
            workspace_context(request).queries, wanted, FORMATS[form][0], form == "csv"
        )
        named = {"content-disposition": f'attachment; filename="segment.{form}"'}
        return await streamed(parts, FORMATS[form][1], {**HEADERS, **named})

    async def _known(self, request: Request) -> Webhook:
        webhook_id = request.path_params["webhook_id"]
        hook = await asyncio.to_thread(workspace_context(request).webhooks.get, webhook_id)
        if hook is None:
            raise NotFoundError("webhook_id", f"webhook {webhook_id!r} is unknown")
        return hook


def _problem(error: msgspec.ValidationError | FieldError) -> str:
    if isinstance(error, FieldError):
        return f"{error.field}: {error}"
    message, field = explain(error)
    return f"{field}: {message}"


def _log(of: Webhooks, hook: Webhook) -> dict[str, Any]:
    entries = []
    for one in of.log(hook.id, 0, LOGGED):
        shown = msgspec.structs.asdict(delivery_out(one))
        shown["body"] = msgspec.json.format(one.body, indent=2).decode()
        entries.append(shown)
    return {"hook": hook, "entries": entries}


def _given(form: FormData) -> dict[str, Any]:
    """What the form says, as the API takes it: a line for each newsletter, label and tag."""

    verdict = str(form.get("verdict", ""))
    return {
        "url": str(form.get("url", "")).strip(),
        "newsletters": _lines(form, "newsletters"),
        "types": [str(value) for value in form.getlist("types")],
        "verdicts": [verdict] if verdict else [],
        "labels": _lines(form, "labels"),
        "tags": _lines(form, "tags"),
        "first": bool(form.get("first")),
    }


def _lines(form: FormData, name: str) -> list[str]:
    return [line.strip() for line in str(form.get(name, "")).splitlines() if line.strip()]


def segment_url(segment: Segment) -> str:
    """The address of the page that shows a segment."""
    given = {name: getattr(segment, name) for name in NAMED}
    given["clicked_tag"] = " ".join(segment.clicked_tag)
    given["since"] = segment.since.date().isoformat() if segment.since else ""
    return f"/segments?{urlencode({name: value for name, value in given.items() if value})}"


def _segment(query: QueryParams) -> tuple[Segment, str]:
    """The segment, or what is wrong with it."""
    given: dict[str, object] = {name: query[name] for name in NAMED if query.get(name)}
    given["clicked_tag"] = query.get("clicked_tag", "").replace(",", " ").split()
    if since := query.get("since"):
        given["since"] = f"{since}T00:00:00Z" if len(since) == 10 else since
    try:
        return msgspec.convert(given, Segment), ""
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        return Segment(), f"{path.rstrip('`').partition('[')[0].replace('_', ' ')}: {message}"
