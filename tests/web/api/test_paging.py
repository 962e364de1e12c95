"""All lists have one style of paging; that of version 0.1 still works."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.web.api.app import openapi
from tests.support.service import Service

SERVER = {"url": "https://hooks.example.com/paging"}


@pytest.fixture(scope="module")
def lists(service: Service) -> Iterator[dict[str, tuple[str, dict[str, Any], str]]]:
    """Yields lists of nine entries or more: path, parameters and the field of the entries."""
    for number in range(9):
        service.rewrite(f"paged-{number}", "<p>", "paged@example.com")
        body = {"recipient": "paged@example.com", "newsletter_id": f"paged-{number}"}
        assert service.client.post("/v1/suppressions", json=body).status_code == 200
    hook = service.client.post("/v1/webhooks", json=SERVER).json()["id"]
    for _ in range(9):
        assert service.client.post(f"/v1/webhooks/{hook}/test").status_code == 200
    service.settled()
    yield {
        "newsletters": ("/v1/newsletters", {}, "newsletters"),
        "messages": ("/v1/messages", {"recipient": "paged@example.com"}, "messages"),
        "suppressions": ("/v1/suppressions", {}, "suppressions"),
        "deliveries": (f"/v1/webhooks/{hook}/deliveries", {}, "deliveries"),
    }
    service.client.delete(f"/v1/webhooks/{hook}")
    for number in range(9):
        body = {"recipient": "paged@example.com", "newsletter_id": f"paged-{number}"}
        service.client.request("DELETE", "/v1/suppressions", json=body)


LISTS = pytest.mark.parametrize("name", ["newsletters", "messages", "suppressions", "deliveries"])


def identified(entry: dict[str, Any]) -> Any:
    return entry.get("message_id") or entry["id"]


@LISTS
def test_pages_have_each_entry_once_in_the_order_of_the_list(
    service: Service, lists: dict[str, Any], name: str
) -> None:
    path, query, field = lists[name]
    whole = [identified(entry) for entry in service.get(path, **query, limit=500)[field]]
    assert len(whole) == len(set(whole)) >= 9
    paged: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = service.get(path, **query, limit=2, after=after)
        assert 1 <= len(page[field]) <= 2
        paged += [identified(entry) for entry in page[field]]
        after = page["next_after"]
        assert after is None or isinstance(after, str)
    assert paged == whole


@LISTS
def test_the_last_page_says_so_even_if_it_is_full(
    service: Service, lists: dict[str, Any], name: str
) -> None:
    path, query, field = lists[name]
    entries = len(service.get(path, **query, limit=500)[field])
    last = service.get(path, **query, limit=entries)
    assert len(last[field]) == entries and last["next_after"] is None


@LISTS
@pytest.mark.parametrize("after", ["x", "1.", "-1", "9" * 300, "\u0663"])
def test_an_after_of_no_answer_is_refused(
    service: Service, lists: dict[str, Any], name: str, after: str
) -> None:
    path, query, _ = lists[name]
    answer = service.client.get(path, params={**query, "after": after})
    assert (answer.status_code, answer.json()["field"]) == (422, "after"), answer.text


@pytest.mark.parametrize(
    ("name", "parameter"), [("newsletters", "offset"), ("deliveries", "before")]
)
def test_the_parameters_of_version_0_1_still_work(
    service: Service, lists: dict[str, Any], name: str, parameter: str
) -> None:
    path, query, field = lists[name]
    whole = [identified(entry) for entry in service.get(path, **query, limit=500)[field]]
    paged: list[Any] = []
    following: int | None = 0
    while following is not None:
        page = service.get(path, **query, limit=4, **{parameter: following})
        paged += [identified(entry) for entry in page[field]]
        following = page[f"next_{parameter}"]
    assert paged == whole
    after = service.get(path, limit=4)["next_after"]
    both = service.client.get(path, params={"after": after, parameter: 4})
    assert (both.status_code, both.json()["field"]) == (422, parameter)


def test_every_list_of_the_document_has_the_same_style() -> None:
    found = []
    for path, methods in openapi()["paths"].items():
        for operation in methods.values():
            names = {one["name"] for one in operation["parameters"] if not one.get("deprecated")}
            if {"limit", "after", "before", "offset", "page", "cursor"} & names:
                found.append(path)
                assert "after" in names and not {"before", "offset", "page", "cursor"} & names, path
    assert set(found) == {
        "/v1/newsletters",
        "/v1/messages",
        "/v1/events",
        "/v1/events/stream",
        "/v1/suppressions",
        "/v1/webhooks/{webhook_id}/deliveries",
    }
