"""Exports this process's figures to Prometheus, read from its parts on request.

Names and units follow prometheus.io/docs/practices/naming: seconds, bytes, `_total` for counters.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.ingest.loader import Loader
from app.schemas.verification import Verification
from app.storage.disk import DiskReserve
from app.storage.journal import Journal
from app.tasks import TaskState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PULSE_SECONDS = 0.05  # seconds between measurements of the event loop's delay
INSERTS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
DELAYS = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 1)


class Metrics(Collector):
    """Collects the metrics of one process.

    `hits` and `dropped` count by kind and by reason, `refused` connections that were closed because
    of a limit, `quotas` what quotas refused. `disk` is the data folder's. `viewers` is how many
    live pages are open, `corrected` how many verdicts have changed. `webhooks` counts deliveries by
    state, `mails` those that came by SMTP by outcome. `unproven` is how many rewritten messages
    failed the check and stayed as they were. `verified` is the latest verification.

    Run `pulse()` on the event loop. `text()` blocks on the journal's folder: call it in a thread.
    """

    def __init__(
        self,
        journal: Journal,
        loader: Loader,
        hits: Mapping[str, int],
        dropped: Mapping[str, int],
        refused: Mapping[str, int],
        quotas: Callable[[], Mapping[str, int]],
        disk: DiskReserve,
        viewers: Callable[[], int],
        corrected: Callable[[], int],
        webhooks: Callable[[], Mapping[str, int]],
        mails: Mapping[str, int],
        unproven: Callable[[], int],
        tasks: Callable[[], Sequence[TaskState]],
        verified: Callable[[], Verification | None],
    ) -> None:
        self._journal, self._loader, self._viewers = journal, loader, viewers
        self._corrected, self._webhooks, self._mails = corrected, webhooks, mails
        self._hits, self._dropped, self._unproven = hits, dropped, unproven
        self._refused, self._tasks = refused, tasks
        self._quotas, self._disk, self._verified = quotas, disk, verified
        self._registry = CollectorRegistry()
        self._delay = Histogram(
            "mailwake_loop_delay_seconds",
            "Delay of the event loop in seconds.",
            buckets=DELAYS,
            registry=self._registry,
        )
        inserts = Histogram(
            "mailwake_load_seconds",
            "Time to load one journal segment into ClickHouse.",
            buckets=INSERTS,
            registry=self._registry,
        )
        loader.on_load = inserts.observe
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    async def pulse(self) -> None:
        """Measure the event loop's delay until cancelled."""
        while True:
            due = time.perf_counter() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            self._delay.observe(max(0.0, time.perf_counter() - due))

    def describe(self) -> list[Metric]:
        """Returns nothing, so that the disk is not read when the process starts."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the current figures."""
        yield _by("mailwake_hits", "Hits recorded, by kind.", "kind", self._hits)
        yield _by(
            "mailwake_dropped", "Hits that were answered but not counted.", "reason", self._dropped
        )
        yield _by(
            "mailwake_connections_refused",
            "Connections closed because of a limit, by limit.",
            "limit",
            self._refused,
        )
        yield _by(
            "mailwake_quota_refused",
            "Requests, streams, templates and mails refused because of a quota, by quota.",
            "quota",
            self._quotas(),
        )
        yield _by("mailwake_smtp", "Mails received by SMTP, by outcome.", "outcome", self._mails)
        lag = self._journal.lag()
        for name, text, value in (
            ("journal_segments", "Journal segments waiting for ClickHouse.", lag.segments),
            ("journal_bytes", "Size of the journal segments waiting for ClickHouse.", lag.bytes),
            (
                "journal_events",
                "Records in the journal segments waiting for ClickHouse.",
                lag.lines,
            ),
            (
                "journal_seconds",
                "Age of the oldest journal segment waiting for ClickHouse.",
                lag.seconds,
            ),
            (
                "journal_trouble",
                "1 while the journal cannot be written to disk.",
                bool(self._journal.trouble),
            ),
            (
                "load_trouble",
                "1 while ClickHouse accepts no journal segments.",
                bool(self._loader.trouble),
            ),
            ("disk_free_bytes", "Free space of the data folder's disk.", self._disk.free_bytes),
            (
                "disk_trouble",
                "1 while less than the reserve is free, so that only hits are stored.",
                bool(self._disk.trouble),
            ),
            ("viewers", "Open live dashboard pages.", self._viewers()),
        ):
            yield GaugeMetricFamily(f"mailwake_{name}", text, float(value))
        failing = GaugeMetricFamily(
            "mailwake_task_failing", "1 while a background task is failing.", labels=["task"]
        )
        failures = CounterMetricFamily(
            "mailwake_task_failures", "Exceptions that ended a background task.", labels=["task"]
        )
        for task in self._tasks():
            failing.add_metric([task.name], float(task.state == "failing"))
            failures.add_metric([task.name], task.failures)
        yield from (failing, failures)
        webhooks = self._webhooks()
        for state, text in (
            ("waiting", "Webhook deliveries to be sent or retried."),
            ("dead", "Webhook deliveries that failed for good and can be replayed."),
            ("off", "Disabled webhooks."),
        ):
            yield GaugeMetricFamily(f"mailwake_webhooks_{state}", text, webhooks.get(state, 0))
        loaded = "Records acknowledged by ClickHouse."
        yield CounterMetricFamily("mailwake_loaded", loaded, self._loader.loaded)
        corrected = "Verdicts changed after their hits were loaded."
        yield CounterMetricFamily("mailwake_corrected", corrected, self._corrected())
        unproven = "Whole messages left unchanged because the check after rewriting failed."
        yield CounterMetricFamily("mailwake_unproven", unproven, self._unproven())
        unreadable = "Journal lines that were not valid records."
        yield CounterMetricFamily("mailwake_unreadable", unreadable, self._loader.unreadable)
        damaged = "Journal segments whose checksum was wrong."
        yield CounterMetricFamily("mailwake_damaged", damaged, self._loader.damaged)
        verified = self._verified()
        for name, text, figure in (
            (
                "verified_seconds",
                "Time of the latest verification since 1970; 0 before the first.",
                verified.at if verified else 0,
            ),
            (
                "verified_differences",
                "Differences that the latest verification has found.",
                len(verified.differences) if verified else 0,
            ),
            (
                "verified_unrepaired",
                "Differences that the latest verification has not repaired.",
                verified.unrepaired if verified else 0,
            ),
        ):
            yield GaugeMetricFamily(f"mailwake_{name}", text, float(figure))


def _by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
