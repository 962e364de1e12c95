"""Dashboard pages of segments: recipients by what they did, saved under names, as files."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.model.errors import FieldError, explain
from app.schemas.fields import (
    SegmentName,
)
from app.schemas.segments import Segment
from app.stats import segments
from app.stats.segments import NAMED
from app.web.dashboard.form_fields import problem_of
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import HEADERS, Dashboard, workspace_context
from app.web.requests import streamed

SHOWN = 50  # recipients of a segment
OFFERED = 200  # newsletters to choose from
FORMATS = {"csv": ("CSVWithNames", "text/csv"), "json": ("JSONEachRow", "application/x-ndjson")}


@dataclass(frozen=True)
class SegmentPages:
    """For users who are logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        return (
            Route("/segments", requires_login(self.segment)),
            Route("/segments", requires_login(self.save, "editor"), methods=["POST"]),
            Route("/segments/export", requires_login(self.export)),
        )

    async def segment(self, request: Request) -> Response:
        """Show recipients by what they did: a form, and the first of them."""
        query, queries = request.query_params, workspace_context(request).queries
        segment, problem = _segment(query)
        has_conditions = any(query.get(name) for name in (*NAMED, "clicked_tag", "since"))
        rows = []
        if has_conditions and not problem:
            rows = list(await asyncio.to_thread(segments.first, queries, segment, SHOWN + 1))
        values = {name: query.get(name, "") for name in (*NAMED, "clicked_tag", "since")}
        kept = await asyncio.to_thread(workspace_context(request).segments.all)
        offered = await asyncio.to_thread(queries.newsletters, limit=OFFERED)
        page = {
            "given": values,
            "problem": problem,
            "rows": rows[:SHOWN],
            "asked": has_conditions,
            "saved": {name: segment_url(saved_segment) for name, saved_segment in kept.items()},
            "offered": offered,
            "more": len(rows) > SHOWN,
            "query": urlencode({name: value for name, value in values.items() if value}),
        }
        return self.dashboard.page(request, "segments.html", page, 422 if problem else 200)

    async def save(self, request: Request) -> Response:
        """Save the segment of the URL under a name, or delete that name."""
        form = await read_form(request)
        name = str(form.get("name", "")).strip()
        back = RedirectResponse(f"/segments?{request.url.query}", 303)
        if form.get("forget"):
            await asyncio.to_thread(workspace_context(request).segments.remove, name)
            return back
        segment, problem = _segment(request.query_params)
        try:
            msgspec.convert(name, SegmentName)
        except msgspec.ValidationError:
            problem = problem or "The name must have 1 to 100 characters."
        if problem:
            return self.dashboard.problem(request, 422, "Segment not saved", problem)
        workspace_context(request).disk.check()
        try:
            await asyncio.to_thread(workspace_context(request).segments.put, name, segment)
        except FieldError as error:
            return self.dashboard.problem(request, 422, "Segment not saved", problem_of(error))
        return back

    async def export(self, request: Request) -> Response:
        """Export the whole segment as a file."""
        segment, problem = _segment(request.query_params)
        form = request.query_params.get("format", "csv")
        if problem or form not in FORMATS:
            detail = problem or f"format must be one of {', '.join(FORMATS)}"
            return self.dashboard.problem(request, 422, "Invalid segment", detail)
        chunks = segments.chunks(
            workspace_context(request).queries, segment, FORMATS[form][0], form == "csv"
        )
        named = {"content-disposition": f'attachment; filename="segment.{form}"'}
        return await streamed(chunks, FORMATS[form][1], {**HEADERS, **named})


def segment_url(segment: Segment) -> str:
    """Returns the URL of the page that shows a segment."""
    values = {name: getattr(segment, name) for name in NAMED}
    values["clicked_tag"] = " ".join(segment.clicked_tag)
    values["since"] = segment.since.date().isoformat() if segment.since else ""
    return f"/segments?{urlencode({name: value for name, value in values.items() if value})}"


def _segment(query: QueryParams) -> tuple[Segment, str]:
    """Returns the segment, or what is wrong with it."""
    values: dict[str, object] = {name: query[name] for name in NAMED if query.get(name)}
    values["clicked_tag"] = query.get("clicked_tag", "").replace(",", " ").split()
    if since := query.get("since"):
        values["since"] = f"{since}T00:00:00Z" if len(since) == 10 else since
    try:
        return msgspec.convert(values, Segment), ""
    except msgspec.ValidationError as error:
        message, field = explain(error)
        return Segment(), f"{field.partition('[')[0].replace('_', ' ')}: {message}"
