"""The running service, as it sees itself."""

from collections.abc import Iterator

import httpx2

from app.ops.doctor.finding import Finding
from app.settings.settings import PREFIX, Settings


def readiness(settings: Settings) -> Iterator[Finding]:
    """Returns what /healthz/full says."""
    response = answer(settings)
    if response is None:
        yield Finding(
            "service",
            "warning",
            f"no response on port {settings.port}",
            f"start `mailwake serve`, or set {PREFIX}PORT to its port",
        )
        return
    if response.status_code == 200:
        yield Finding("service", "ok", "hits are stored and reach ClickHouse")
        return
    try:
        body = response.json()
        trouble = [str(problem) for problem in body["trouble"]]
    except (ValueError, KeyError, TypeError):
        yield Finding(
            "service",
            "error",
            f"the program on port {settings.port} is not Mailwake",
            f"set {PREFIX}PORT to the port of `mailwake serve`",
        )
        return
    for problem in trouble:
        yield Finding(
            "service",
            "error",
            problem,
            "hits wait in the journal: fix this before the disk is full",
        )
    dropped = {name: n for name, n in body.get("dropped", {}).items() if name.startswith("disk_")}
    if dropped:
        yield Finding("service", "error", f"hits were dropped: {dropped}", "free disk space")


def answer(settings: Settings) -> httpx2.Response | None:
    """Returns the response of /healthz/full, None where nothing listens."""
    try:
        return httpx2.get(f"{settings.local_url()}/healthz/full", timeout=10, trust_env=False)
    except httpx2.TransportError:
        return None


CHECKS = (readiness,)
