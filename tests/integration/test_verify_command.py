"""`mailwake verify` beside a service and without one, and where its results are shown."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2

from app.demo import agents
from tests.support.programs import run
from tests.support.service import Service, paths, tracked_urls

LINKS = "".join(f'<a href="https://example.com/{n}">{n}</a>' for n in range(4))
DAMAGE = """
import sys
from app.settings.load import load
from app.storage.clickhouse import Storage
with Storage(load()).own_client(60) as client:
    for statement in sys.argv[1:]:
        client.command(statement, settings={"mutations_sync": 2})
"""


def verify(service: Service, *words: str) -> tuple[int, str]:
    done = run(service, "-m", "app", "verify", *words)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def damage(service: Service, *statements: str) -> None:
    done = run(service, "-c", DAMAGE, *statements)
    assert done.returncode == 0, done.stderr


def figures(service: Service) -> list[Any]:
    there = "/v1/newsletters/verified"
    return [service.get(f"{there}/{name}") for name in ("stats", "links", "agents")]


def test_what_differs_is_said_repaired_and_shown(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        for number in range(3):
            mail = service.rewrite("verified", LINKS, f"{number}@example.com")
            for path in paths(tracked_urls(mail["html"])):
                service.client.get(path, headers={"user-agent": agents.CHROME})
        service.settled()
        before = figures(service)
        code, said = verify(service)
        assert code == 0 and "Compared 15 hits of 1 newsletters" in said
        assert said.endswith("everything is equal\n")
        state = service.get("/healthz/full")
        assert state["verified"]["differences"] == [] and state["verified"]["hits"] == 15

        service.stop()
        damage(service, "ALTER TABLE hits_by_agent DELETE WHERE 1", "TRUNCATE TABLE messages")
        code, said = verify(service)  # nobody holds the database
        assert code == 1
        agent, *messages = sorted(said.splitlines()[:-2])  # one for each segment with messages
        assert agent.startswith("hits_by_agent, newsletter verified of ") and "15 missing" in agent
        pattern = re.compile(r"messages, .* (\d) missing compared with journal segment .*")
        lost = [pattern.fullmatch(line) for line in messages]
        assert sum(int(match[1]) for match in lost if match) == 3
        count = 1 + len(messages)
        assert f"{count} differences, 0 of them repaired (run with --repair to repair them)" in said

        service.start()
        service.wait_for(lambda: service.client.get("/healthz/full").json()["verified"], "tables")
        answer = service.client.get("/healthz/full")
        assert answer.status_code == 503
        assert any("differences that are not repaired" in why for why in answer.json()["trouble"])
        metrics = service.client.get("/metrics").text
        assert f"mailwake_verified_unrepaired {count}.0" in metrics
        doctor = run(service, "-m", "app", "doctor", "--json")
        findings = [json.loads(line) for line in doctor.stdout.splitlines()]
        told = [finding for finding in findings if finding["about"] == "verification"]
        assert {finding["status"] for finding in told} == {"error"} and len(told) == count
        with httpx2.Client(base_url=service.url, trust_env=False) as visitor:
            service.login(visitor)
            page = visitor.get("/status").text
            assert "hits_by_agent, newsletter " in page and "are not repaired" in page

        code, said = verify(service, "--repair")
        assert code == 0 and f"{count} differences, {count} of them repaired\n" in said
        assert figures(service) == before
        assert service.get("/healthz/full")["verified"]["unrepaired"] == 0
        assert verify(service)[0] == 0
        assert verify(service, "--from", "2020-01-01", "--to", "2020-01-02") == (
            0,
            "Compared 0 hits of 0 newsletters with their roll-ups, and 0 journal segments"
            f"{said.split('journal segments')[-1].splitlines()[0]}\neverything is equal\n",
        )


def test_it_takes_an_operators_key_and_a_period(service: Service) -> None:
    for body, status, field in (
        (b"{", 400, ""),
        (b'{"repair": 1}', 422, "repair"),
        (b'{"from": "yesterday"}', 422, "from"),
        (b'{"x": 1}', 422, "body"),
        (b" " * 5000, 413, ""),
    ):
        answer = service.client.post("/v1/verify", content=body)
        assert (answer.status_code, answer.json().get("field", "")) == (status, field), body
    refused = service.client.post("/v1/verify", headers={"authorization": "no"})
    assert refused.status_code == 401
    done = run(service, "-m", "app", "verify", "--from", "2026-02-01", "--to", "2026-01-01")
    assert done.returncode == 2 and "--from" in done.stderr
