"""The API of outcomes: what became of messages, reported by mailers."""

from collections.abc import Iterator

import msgspec
from starlette.responses import Response

from app.model.errors import UNREADABLE, FieldError, explain
from app.model.records import Outcome
from app.outcomes.reports import OutcomeReports
from app.schemas.messages import LineError
from app.schemas.outcomes import OutcomeAccepted, OutcomeIn
from app.web.api.operation import JSON, MAX_BODY_BYTES, NDJSON, Call, Content, Operation
from app.web.errors import RequestError
from app.web.query import NoQuery
from app.web.requests import body_of, json, offloaded

MAX_BATCH_BYTES = 10_000_000
MAX_LINE_BYTES = MAX_BODY_BYTES
MAX_LINES = 10_000

_decode = msgspec.json.Decoder(OutcomeIn).decode
_encode_lines = msgspec.json.Encoder().encode_lines


async def report_outcomes(call: Call[NoQuery]) -> Response:
    """Report what became of messages: one outcome as JSON, or many as NDJSON.

    They are stored when the response comes, and counted within seconds. Reports may come in any
    order, and repeatedly: each `id` of a workspace counts once. With the content type
    application/x-ndjson each line is an outcome, and the response has a line for each, in the same
    order: an OutcomeAccepted or, for an invalid line, a LineError. The others are stored.
    """
    reports = call.api.outcomes
    media_type = call.request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media_type != NDJSON:
        report = await call.body(OutcomeIn, MAX_BODY_BYTES)
        try:
            record = reports.record(report)
        except FieldError as error:
            raise RequestError(422, str(error), error.field) from None
        await reports.write([record])
        return json(OutcomeAccepted(report.id))
    body = await body_of(call.request, MAX_BATCH_BYTES)
    if body.count(b"\n") > MAX_LINES:
        raise RequestError(413, f"the body must have at most {MAX_LINES:,} lines")
    answers = await offloaded(len(body), lambda: list(_read(reports, body)))
    await reports.write(answer for answer in answers if isinstance(answer, Outcome))

    def encode() -> bytes:
        return _encode_lines(
            OutcomeAccepted(answer.event) if isinstance(answer, Outcome) else answer
            for answer in answers
        )

    return Response(await offloaded(len(body), encode), media_type=NDJSON)


def _read(reports: OutcomeReports, body: bytes) -> Iterator[Outcome | LineError]:
    """Yields the record of each line, or what is wrong with it."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            yield LineError(number, 413, f"the line has more than {MAX_LINE_BYTES:,} bytes")
            continue
        try:
            yield reports.record(_decode(line))
        except FieldError as error:
            yield LineError(number, 422, str(error), error.field)
        except UNREADABLE as error:
            yield LineError(number, 422, *explain(error))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/outcomes",
        report_outcomes,
        scope="outcomes",
        takes=(OutcomeIn, Content(NDJSON, OutcomeIn)),
        gives=(OutcomeAccepted, Content(NDJSON, OutcomeAccepted, LineError)),
    ),
)
