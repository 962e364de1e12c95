"""The whole product on real mail: rewrite, hit, count, with the real server process."""

import json
import random
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.ingest import loader
from app.storage import journal
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

PERSON = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/142.0.0.0 Safari/537.36"
)
MAIL = '<html><body><a href="https://example.com/a?b=1&amp;c=2">One</a></body></html>'


def counts(split: dict[str, Any], group: str) -> tuple[int, int]:
    return split[group]["total"], split[group]["unique"]


def test_every_mail_of_the_corpus_is_rewritten_and_fifty_are_counted_exactly(
    service: Service, shared: Path
) -> None:
    corpus = shared / "corpus"
    expected = json.loads((corpus / "expected_links.json").read_text())
    answers = {}
    for number, (name, kinds) in enumerate(sorted(expected.items())):
        html = (corpus / name).read_bytes().decode("utf-8", "replace")
        answer = service.rewrite(f"corpus/{name}", html, f"reader{number}@example.com")
        answers[name] = answer
        reported = {link["url"] for link in answer["links"]}
        assert reported.issuperset(kinds["links"] + kinds["mso_links"]), name
        for link in answer["links"]:
            assert link["tracked"] == (link["reason"] is None), (name, link)
    assert len(answers) > 200

    followed = {}
    chosen = random.Random(1).sample(sorted(answers), 50)
    agents = httpx2.Client(
        base_url=service.url,
        headers={"user-agent": PERSON},
        trust_env=False,
        timeout=PATIENCE_SECONDS,
    )
    with agents:
        for name in chosen:
            answer = answers[name]
            tracked = [link for link in answer["links"] if link["tracked"]]
            urls = paths(tracked_urls(answer["html"]))
            clicks = [url for url in urls if url.startswith("/c/")]
            pixels = [url for url in urls if url.startswith("/o/")]
            assert len(pixels) == 1, name
            assert len(clicks) == len(tracked), name
            for url, link in zip(clicks, tracked, strict=True):
                reply = agents.get(url)
                assert reply.status_code == 302
                if link["url"].isascii() and " " not in link["url"]:
                    assert reply.headers["location"] == link["url"]
            reply = agents.get(pixels[0])
            assert (reply.status_code, len(reply.content)) == (200, 43)
            followed[name] = len(clicks)
    service.drained()
    for name, clicks_made in followed.items():
        stats = service.stats(f"corpus/{name}")
        assert stats["messages"] == 1
        assert counts(stats["opens"], "all") == (1, 1)
        assert counts(stats["clicks"], "all") == (clicks_made, min(clicks_made, 1))
        clicked = service.get(f"/v1/newsletters/{quote(f'corpus/{name}', safe='')}/links")
        assert sum(link["all"]["total"] for link in clicked["links"]) == clicks_made


def test_a_hit_reaches_the_stats_and_its_pauses_are_under_two_seconds(service: Service) -> None:
    """How long the work between the pauses takes is for `make bench` (tests/bench/sizing.py)."""
    assert journal.SEAL_AFTER_SECONDS + loader.POLL_SECONDS < 1
    assert journal.SEAL_PERIOD_SECONDS + loader.POLL_SECONDS < 1.5
    answer = service.rewrite("quick", MAIL)
    service.wait_for(lambda: _known(service, "quick"), "newsletter")
    (click, pixel) = sorted(paths(tracked_urls(answer["html"])))
    for path in (click, pixel):
        service.client.get(path, headers={"user-agent": PERSON})
    for kind in ("clicks", "opens"):
        service.wait_for(
            lambda kind=kind: counts(service.stats("quick")[kind], "human") == (1, 1), kind
        )


def _known(service: Service, newsletter: str) -> bool:
    return service.client.get(f"/v1/newsletters/{newsletter}/stats").status_code == 200


def test_people_and_machines_are_told_apart_and_uniques_are_messages(service: Service) -> None:
    first, second = (service.rewrite("apart", MAIL, f"{n}@example.com") for n in "ab")
    for answer, times in ((first, 3), (second, 1)):
        click, pixel = sorted(paths(tracked_urls(answer["html"])))
        for _ in range(times):
            service.client.get(pixel, headers={"user-agent": PERSON})
            service.client.get(click, headers={"user-agent": PERSON})
        service.client.head(click, headers={"user-agent": PERSON})
        service.client.get(pixel, headers={"user-agent": "curl/8.0"})
        service.client.get(pixel, headers={"user-agent": "Mozilla/5.0"})
    service.drained()
    stats = service.stats("apart")
    assert stats["messages"] == 2
    assert counts(stats["opens"], "human") == (4, 2)
    assert counts(stats["opens"], "machine") == (4, 2)
    assert counts(stats["opens"], "all") == (8, 2)
    assert counts(stats["clicks"], "human") == (4, 2)
    assert counts(stats["clicks"], "machine") == (2, 2)


def test_the_target_arrives_as_the_client_would_have_read_it(service: Service) -> None:
    answer = service.rewrite("target", MAIL, utm={"source": "mail"})
    (click, _) = sorted(paths(tracked_urls(answer["html"])))
    reply = service.client.get(click)
    assert reply.headers["location"] == "https://example.com/a?b=1&c=2&utm_source=mail"


def test_unsubscribing_is_one_click_and_idempotent(service: Service) -> None:
    answer = service.rewrite("leave", MAIL)
    url = answer["headers"]["List-Unsubscribe"].strip("<>")
    assert answer["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    shown = service.client.get(url)
    assert shown.status_code == 200
    assert "<form" in shown.text
    service.drained()
    assert service.stats("leave")["unsubscribes"] == 0
    for _ in range(2):
        assert service.client.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    service.drained()
    assert service.stats("leave")["unsubscribes"] == 1
    assert service.client.post(url[:-1]).status_code == 404


@pytest.mark.parametrize("sync_ms", ["0", "100"])
def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path, sync_ms: str) -> None:
    with Service(tmp_path / "data", MAILWAKE_JOURNAL_SYNC_MS=sync_ms) as service:
        answered = 0
        messages = 0
        for _ in range(3):
            mails = [service.rewrite("killed", MAIL, f"{n}@example.com") for n in range(5)]
            messages += len(mails)
            pixels = [sorted(paths(tracked_urls(mail["html"])))[1] for mail in mails]
            done: list[int] = []
            threads = [
                threading.Thread(target=_load, args=(service.url, pixel, done))
                for pixel in pixels[:4]
            ]
            for thread in threads:
                thread.start()
            service.wait_for(lambda done=done: len(done) > 300, "load")
            service.kill()
            for thread in threads:
                thread.join()
            answered += len(done)
            service.start()
        service.drained()
        stats = service.stats("killed")
        assert stats["messages"] == messages
        # A hit whose answer the kill cut off may have been written: one for each connection.
        assert answered <= stats["opens"]["all"]["total"] <= answered + 3 * 4


def _load(url: str, pixel: str, done: list[int]) -> None:
    with httpx2.Client(
        base_url=url, headers={"user-agent": PERSON}, trust_env=False, timeout=PATIENCE_SECONDS
    ) as client:
        while True:
            try:
                if client.get(pixel).status_code == 200:
                    done.append(1)
            except httpx2.TransportError:
                return


def test_stopping_drains_the_journal_and_what_is_left_is_picked_up(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        answer = service.rewrite("stopped", MAIL)
        for _ in range(100):
            service.client.get(sorted(paths(tracked_urls(answer["html"])))[1])
        assert service.stop() in (0, -signal.SIGTERM)  # uvicorn hands the signal on
        journal = service.data_dir / "journal"
        assert not [path for path in journal.iterdir() if path.suffix in (".open", ".seg")]
        service.start()
        assert service.stats("stopped")["opens"]["all"]["total"] == 100
