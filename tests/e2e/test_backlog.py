"""A backlog in the journal delays neither the start nor the stop, and every line of it counts."""

import re
import signal
import time
import uuid
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.demo import agents
from app.model.ids import new_id
from app.model.records import encode
from app.settings.load import load, with_secrets
from app.storage.journal_segments import sealed, with_footer
from app.tracking.hit_from_request import hit
from app.tracking.tokens import Tokens
from app.tracking.tracker import NOWHERE
from tests.support.service import Service
from tests.support.torture import LONG

MOST_MEMORY = 1_500_000_000  # bytes
# Without it, a stop would load what it can for two seconds.
NO_DRAIN = "from app.ingest import loader; loader.DRAIN_SECONDS = 0"


def leave_hits(service: Service, pixel: str, segments: int, lines: int) -> None:
    """Put sealed journal segments with hits of one message into the journal."""
    tokens = Tokens(with_secrets(load(data_dir=service.data_dir)).secret_keys)
    token = tokens.read_message(pixel.removeprefix("/o/").removesuffix(".gif"))
    headers = {b"user-agent": agents.FIREFOX.encode()}
    record = hit("GET", headers, "192.0.2.1", "open", token, NOWHERE)
    for _ in range(segments):
        content = b"".join(
            encode(replace(record, at=record.at + 60_000 * number)) for number in range(lines)
        )
        path = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.new"
        path.write_bytes(with_footer(content))
        path.rename(path.with_suffix(".seg"))


def pixel_of(service: Service, newsletter: str) -> str:
    html = service.rewrite(newsletter, "<body>x")["html"]
    found = re.search(r"/o/[\w-]+\.gif", html)
    assert found
    return found[0]


def loaded(service: Service) -> float:
    text = service.client.get("/metrics").text
    return float(text.partition("\nmailwake_loaded_total ")[2].partition("\n")[0])


def test_a_stop_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    segments, lines = 25, 200
    with Service(tmp_path / "data", NO_DRAIN) as service:
        service.ready()
        pixel = pixel_of(service, "n")
        service.drained()
        service.stop()
        leave_hits(service, pixel, segments, lines)
        service.start()
        assert service.client.get(pixel).status_code == 200  # at once, whatever waits
        service.wait_for(lambda: loaded(service) > 0, "loading")
        assert service.stop() in (0, -signal.SIGTERM)
        assert "journal segments wait for the next start" in service.log.read_text()
        assert 0 < len(sealed(service.data_dir / "journal")) < segments + 1
        service.start()
        service.drained()
        assert service.stats("n")["opens"]["all"]["total"] == segments * lines + 1


@pytest.mark.torture
@pytest.mark.skipif(not LONG, reason="make torture")
def test_ten_million_lines_wait(tmp_path: Path) -> None:
    """As the unit files of systemd and containers expect: a stop takes seconds."""
    segments, lines = 200, 50_000
    with Service(tmp_path / "data") as service:
        service.ready()
        pixel = pixel_of(service, "n")
        service.drained()
        service.stop()
        leave_hits(service, pixel, segments, lines)
        begin = time.monotonic()
        service.start()
        assert service.client.get(pixel).status_code == 200
        started = time.monotonic() - begin
        assert service.client.get("/healthz/full").json()["journal"]["segments"] > segments - 10
        service.wait_for(lambda: loaded(service) > 2 * lines, "loading")
        begin = time.monotonic()
        assert service.stop() in (0, -signal.SIGTERM)
        stopped = time.monotonic() - begin
        print(f"start to first hit {started:.1f} s, stop {stopped:.1f} s")
        assert stopped < 5
        service.start()
        memory, waiting = 0, segments
        while waiting > 5:
            assert service.process
            status = Path(f"/proc/{service.process.pid}/status").read_text()
            memory = max(memory, int(status.partition("VmHWM:")[2].split()[0]) * 1_000)
            assert service.client.get("/o/x.gif").status_code == 200
            waiting = service.client.get("/healthz/full").json()["journal"]["segments"]
            time.sleep(1)
        print(f"memory {memory / 1e6:.0f} MB")
        assert memory < MOST_MEMORY
        service.drained(1_000)
        assert service.stats("n")["opens"]["all"]["total"] == segments * lines + 1
