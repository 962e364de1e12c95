"""The examples of the documentation: a service accepts what they send and answers as they show."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.web.api.app import OPERATIONS, openapi
from app.web.api.examples import EXAMPLES, FOLLOWUP, MESSAGE, NEWSLETTER, WEBHOOK
from app.web.api.operation import JSON, NDJSON
from tests.support.service import Service, paths, tracked_urls

FIRST = (
    "rewrite_",
    "store_",
    "start_",
    "report_",
    "create_",
    "save_",
    "suppress_",
    "withdraw_",
    "test_",
)
LAST = ("unsuppress_", "restore_", "delete_followup", "delete_", "end_", "erase_", "get_erasure")
FREE = {"counts", "headers"}  # their keys differ from message to message
PERSON = {"user-agent": "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"}


def rank(name: str) -> tuple[int, int]:
    """Order operations so that what one of them needs exists."""
    for place, beginnings in ((0, FIRST), (2, LAST)):
        for number, beginning in enumerate(beginnings):
            if name.startswith(beginning):
                return place, number
    return 1, 0


def differences(shown: Any, real: Any, path: str) -> Iterator[str]:
    """Yields where an answer has other fields or types than the example."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if path.rpartition(".")[2] not in FREE and set(shown) != set(real):
            yield f"{path}: {sorted(set(shown) ^ set(real))}"
        for name in set(shown) & set(real):
            yield from differences(shown[name], real[name], f"{path}.{name}")
    elif isinstance(shown, list) and isinstance(real, list):
        if shown and real:
            yield from differences(shown[0], real[0], f"{path}[0]")
    elif None not in (shown, real) and kind(shown) is not kind(real):
        yield f"{path}: {real!r}"


def kind(value: Any) -> type:
    """Returns the type of a value in JSON, which has one of numbers."""
    return float if type(value) is int else type(value)


def values(media: str, body: str) -> Any:
    """Returns what is compared: a JSON value, or the lines of NDJSON."""
    if media == JSON:
        return json.loads(body)
    if media == NDJSON:
        return [json.loads(line) for line in body.splitlines()]
    return body


class Reader:
    """Follows the examples, with the ids that the service gave instead of those shown."""

    def __init__(self, service: Service) -> None:
        self.service, self.ids = service, {}  # type: Service, dict[str, str]

    def send(self, path: str, method: str, operation: Mapping[str, Any]) -> httpx2.Response:
        query = {}
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                value = self.ids.get(parameter["example"], parameter["example"])
                path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
            elif "example" in parameter:
                query[parameter["name"]] = parameter["example"]
        headers, content = {}, None
        if "requestBody" in operation:
            media, body = next(iter(operation["requestBody"]["content"].items()))
            headers["content-type"] = media
            content = body["example"] if media != JSON else json.dumps(body["example"])
            for shown, real in self.ids.items():
                content = content.replace(shown, real)
        return self.service.client.request(
            method.upper(), path, params=query, headers=headers, content=content
        )


@pytest.fixture(scope="module")
def empty_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yields a service without newsletters and events of other tests."""
    with Service(tmp_path_factory.mktemp("examples") / "data") as running:
        running.ready()
        yield running


def test_each_operation_has_an_example() -> None:
    assert set(EXAMPLES) == {operation.name for operation in OPERATIONS}


def test_a_service_answers_as_the_examples_show(empty_service: Service) -> None:
    operations = [
        (path, method, operation)
        for path, methods in openapi()["paths"].items()
        for method, operation in methods.items()
        if operation["operationId"] != "stream_events"  # which does not end
    ]
    operations.sort(key=lambda row: rank(row[2]["operationId"]))
    service, reader = empty_service, Reader(empty_service)
    found: list[str] = []
    empty = set()
    for path, method, operation in operations:
        name = operation["operationId"]
        if name == "list_deliveries":  # the example's server does not exist, so nothing arrives
            for parameter in operation["parameters"]:
                if parameter["name"] == "state":
                    del parameter["example"]
        answer = reader.send(path, method, operation)
        assert answer.status_code in (200, 202), (name, answer.text)
        media, body = next(iter(operation["responses"]["200"]["content"].items()))
        assert answer.headers["content-type"].partition(";")[0] == media, name
        shown, real = values(media, _text(media, body["example"])), values(media, answer.text)
        if name == "list_deliveries":  # of the event that test_webhook sends
            real["deliveries"][0]["body"] = shown["deliveries"][0]["body"]
        found += differences(shown, real, name)
        if isinstance(real, list) and not real:
            empty.add(name)
        if name == "rewrite_message":
            reader.ids[MESSAGE] = real["message_id"]
            for url in paths(tracked_urls(real["html"])):
                service.client.get(url, headers=PERSON | {"sec-fetch-mode": "navigate"})
            service.settled()
        elif name == "create_webhook":
            reader.ids[WEBHOOK] = real["id"]
        elif name == "create_followup":
            reader.ids[FOLLOWUP] = real["id"]
        elif name == "erase_recipient":
            reader.ids["17"] = str(real["id"])
    assert found == [] and empty == set()
    assert service.stats(NEWSLETTER)["clicks"]["human"]["total"] == 1


def _text(media: str, example: Any) -> str:
    return json.dumps(example) if media == JSON else str(example)


def test_examples_show_no_real_host() -> None:
    text = json.dumps(openapi())
    hosts = set(re.findall(r"https://([\w.-]+)", text))
    assert {host for host in hosts if not re.search(r"(^|\.)example(\.com)?$", host)} == set()


@pytest.mark.parametrize("status", sorted({code for one in OPERATIONS for code in one.problems}))
def test_an_error_is_shown_with_its_own_status(status: int) -> None:
    for methods in openapi()["paths"].values():
        for operation in methods.values():
            if answer := operation["responses"].get(str(status)):
                media = answer["content"]["application/problem+json"]
                assert media["example"]["status"] == status
