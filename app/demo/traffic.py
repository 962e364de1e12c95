"""Sends the mail and simulates its readers against a running service, over HTTP only."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from random import Random
from typing import Any

import httpx2

from app.demo import waves
from app.demo.audience import audience
from app.demo.deliveries import Report, reports
from app.demo.reactions import Act, reactions
from app.demo.waves import Sending

log = logging.getLogger(__name__)

CONNECTIONS = 12
REPORT_SECONDS = 10.0  # between reports of what became of mails: each costs inserts
REPORTS = 1_000  # at once
CATCH_UP = 0.5  # seconds of delay that a mailer makes up for by sending faster
# Mailwake's URLs in a rewritten mail; only their paths are used, since PUBLIC_URL may be another
# host.
_TRACKED = re.compile(r'="https?://[^"\s]*?(/(?:o/[\w-]+\.gif|c/[\w-]+/[\w-]+))"')
_UNSUBSCRIBE = re.compile(r"/u/[\w-]+(?=>)")


class RefusedError(Exception):
    """The service refused a mail and would do so again, for example for a wrong API key."""


async def run_traffic(
    base_url: str, key: Callable[[], str], *, stop: asyncio.Event, seed: int = 1, speed: float = 1.0
) -> None:
    """Send mail and open, click, unsubscribe until `stop` is set or the task is cancelled.

    Waits for a service that is not there (yet). Recipients and their reactions depend on `seed`
    alone. `key` returns each request's API key, and `speed` makes time pass faster. A refused mail
    ends the traffic with a line in the log.
    """
    # Each request at level info would hide the service's own messages.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    async with httpx2.AsyncClient(
        timeout=15, trust_env=False, limits=httpx2.Limits(max_connections=CONNECTIONS)
    ) as client:
        traffic = _Traffic(client, base_url.rstrip("/"), key, seed, speed)
        running = asyncio.create_task(traffic.run(), name="demo traffic")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            stopping.cancel()
            await asyncio.wait((running, stopping))
    if not running.cancelled():
        try:
            running.result()
        except* RefusedError as refused:
            log.error("a demo mail was refused: %s", refused.exceptions[0])


@dataclass(frozen=True)
class _Traffic:
    client: httpx2.AsyncClient
    base_url: str
    key: Callable[[], str]
    seed: int
    speed: float
    unsubscribed: set[str] = field(default_factory=set)  # email addresses
    sampled: set[str] = field(default_factory=set)  # mailings whose click map has a mail
    outcomes: list[dict[str, Any]] = field(default_factory=list)  # to be reported

    async def run(self) -> None:
        readers = audience(self.seed)
        async with asyncio.TaskGroup() as group:
            for plan in (waves.burst, waves.newsletters, waves.transactions):
                group.create_task(self._send(plan(self.seed, readers), group))
            group.create_task(self._report())

    async def _send(self, plan: Iterable[Sending], group: asyncio.TaskGroup) -> None:
        """Send one mail after the other: a slow service slows its mailer down."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for sending in plan:
            due = max(due, clock() - CATCH_UP) + sending.pause / self.speed
            await asyncio.sleep(due - clock())
            if sending.reader.address in self.unsubscribed and not sending.mailing.share:
                continue
            answer = await self._mail(sending)
            if answer["suppressed"]:
                continue  # as every mailer should
            labels = [link["label"] for link in answer["links"] if link["tracked"]]
            rng = Random(f"{self.seed} {sending.mailing.id} {sending.reader.address}")  # noqa: S311
            became = reports(rng, sending.reader)
            self._note(answer["message_id"], became)
            acts = reactions(rng, sending.mailing, sending.reader, labels)
            if acts and became[0].kind == "delivered":
                group.create_task(self._live(sending, acts, answer))

    async def _mail(self, sending: Sending) -> dict[str, Any]:
        """Rewrite a mail, however long the service is unavailable. Raises RefusedError."""
        mailing = sending.mailing
        body = {
            "newsletter": {
                "id": mailing.id,
                "name": mailing.name,
                "subject": mailing.subject,
                "tags": mailing.tags,
            },
            "recipient": sending.reader.address,
            "html": mailing.html(sending.reader),
            "utm": {"source": "email", "campaign": mailing.id},
            "sample": mailing.id not in self.sampled,  # invented readers need no privacy
        }
        self.sampled.add(mailing.id)
        headers = {"authorization": f"Bearer {self.key()}"}
        for pause in _pauses():
            try:
                reply = await self.client.post(
                    f"{self.base_url}/v1/rewrite", json=body, headers=headers
                )
            except httpx2.TransportError as error:
                log.debug("no response: %s", error)
            else:
                if reply.is_success:
                    answer: dict[str, Any] = reply.json()
                    return answer
                if reply.status_code != 429 and not reply.is_server_error:
                    raise RefusedError(f"{reply.status_code} {reply.text[:200]}")
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    def _note(self, message_id: str, became: Iterable[Report]) -> None:
        """Remember what is reported of a message, at the time at which it happens."""
        now = datetime.now(UTC)
        for report in became:
            outcome: dict[str, Any] = {
                "id": f"{report.kind} {message_id}",
                "type": report.kind,
                "message_id": message_id,
                "occurred_at": (now + timedelta(seconds=report.at)).isoformat(),
                "code": report.code,
                "text": report.text,
            }
            if report.kind == "bounced":
                outcome["permanent"] = report.permanent
            self.outcomes.append(outcome)

    async def _report(self) -> None:
        """Report what has happened, in batches as a mail server's log would be read."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            now = datetime.now(UTC).isoformat()
            due = [one for one in self.outcomes if one["occurred_at"] <= now][:REPORTS]
            if not due:
                continue
            headers = {
                "authorization": f"Bearer {self.key()}",
                "content-type": "application/x-ndjson",
            }
            lines = "".join(json.dumps(outcome) + "\n" for outcome in due)
            try:
                reply = await self.client.post(
                    f"{self.base_url}/v1/outcomes", content=lines, headers=headers
                )
            except httpx2.TransportError as error:
                log.debug("no response: %s", error)
                continue
            if reply.is_success:  # else they are reported again; repeated ones count once
                self.outcomes[:] = [one for one in self.outcomes if one not in due]

    async def _live(self, sending: Sending, acts: Iterable[Act], answer: dict[str, Any]) -> None:
        """Simulate the requests for one message, each at its time."""
        tracked = _TRACKED.findall(answer["html"])
        pixels = [path for path in tracked if path.startswith("/o/")]
        clicks = [path for path in tracked if path.startswith("/c/")]
        unsubscribe = _UNSUBSCRIBE.findall(answer["headers"].get("List-Unsubscribe", ""))
        clock = asyncio.get_running_loop().time
        sent = clock()
        for act in acts:
            await asyncio.sleep(sent + act.at * sending.haste / self.speed - clock())
            if act.kind == "open":
                await self._request(act, pixels[0])
            elif act.kind == "click":
                await self._request(act, clicks[act.link])
            elif unsubscribe:
                self.unsubscribed.add(sending.reader.address)
                await self._request(act, unsubscribe[0])

    async def _request(self, act: Act, path: str) -> None:
        headers = {"user-agent": act.agent, "x-forwarded-for": act.address, **act.headers}
        data = {"List-Unsubscribe": "One-Click"} if act.method == "POST" else None
        try:
            await self.client.request(act.method, self.base_url + path, headers=headers, data=data)
        except httpx2.TransportError as error:
            log.debug("a demo hit got no response and is skipped: %s", error)


def _pauses() -> Iterator[float]:
    return chain((0.1, 0.2, 0.5, 1.0, 2.0), repeat(3.0))
