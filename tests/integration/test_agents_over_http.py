"""Verdicts of agents on the running service, from the request to the events that are read."""

import json
from collections.abc import Iterator

import pytest

from app.demo import agents
from tests.support.service import Service, paths, tracked_urls

SIGNED = {"signature-agent": '"https://assistant.example"', "sec-fetch-mode": "navigate"}
CLICKS = [
    (agents.CHROME, {"sec-fetch-mode": "navigate"}, "human"),
    (agents.FIREFOX, {}, "human"),
    (agents.CHROME, {"x-moz": "prefetch"}, "prefetch"),
    (agents.CHROME, SIGNED, "assistant"),
    ("Mozilla/5.0 (compatible; ChatGPT-User/1.0; +https://openai.com/bot)", {}, "assistant"),
    ("lua-resty-http/0.17.1 (Lua) ngx_lua/10026", {}, "bot"),
    ("dataaccessd/1.0", {}, "bot"),
    ("dataaccessd/1.0", {"sec-fetch-mode": "navigate"}, "human"),
    ("Mozilla/5.0 (compatible; SecurityScanner)", {"sec-fetch-mode": "navigate"}, "bot"),
    (agents.GMAIL_PROXY, {}, "bot"),
    ("SeznamEmailProxy/3.0.51", {}, "bot"),
]
OPENS = [
    ("SeznamEmailProxy/3.0.51", "privacy_proxy"),
    ("hey.com/imageproxy Mozilla/5.0 (X11; Linux x86_64) Chrome/134.0.0.0", "privacy_proxy"),
    ("a mail client that nobody knows", "human"),
    ("curl/8.0", "bot"),
    ("Mozilla/5.0", "prefetch"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("agents") / "data") as running:
        running.ready()
        yield running


def test_each_agent_has_its_verdict(service: Service) -> None:
    expected = {}
    requests: list[tuple[str, str, dict[str, str], str]] = [
        *(("click", agent, headers, verdict) for agent, headers, verdict in CLICKS),
        *(("open", agent, {}, verdict) for agent, verdict in OPENS),
    ]
    for number, (kind, agent, headers, verdict) in enumerate(requests):
        recipient = f"{number}@example.com"
        answer = service.rewrite("agents", '<a href="https://example.com/">x</a>', recipient)
        link, pixel = paths(tracked_urls(answer["html"]))
        path = link if kind == "click" else pixel
        sent = {"user-agent": agent, **headers}
        assert service.client.get(path, headers=sent).status_code in (200, 302)
        expected[recipient] = verdict
    service.drained()
    lines = service.client.get("/v1/events", params={"limit": 100}).text.splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["recipient"]: event["verdict"] for event in events} == expected


def test_names_of_proxies_and_assistants_are_shown(service: Service) -> None:
    found = service.get("/v1/newsletters/agents/agents")["agents"]
    clients = {row["name"] for row in found["clients"]}
    assert {"Seznam Email", "HEY", "ChatGPT-User"} <= clients
    assert "Other mail clients" in {row["name"] for row in found["families"]}
