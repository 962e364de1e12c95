from typing import Any

import pytest

from tests.support.service import Service

GOOD: dict[str, Any] = {
    "newsletter": {"id": "api"},
    "recipient": "a@example.com",
    "html": "<p>Hello</p>",
}
PATHS = [
    "/v1/newsletters",
    "/v1/newsletters/api",
    "/v1/newsletters/api/stats",
    "/v1/newsletters/api/links",
    "/v1/newsletters/api/timeline",
]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic eDp5", "Bearer \xff"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/rewrite"])
def test_without_a_valid_key_nothing_is_told(service: Service, path: str, header: str) -> None:
    method = "POST" if path.endswith("rewrite") else "GET"
    headers = [(b"authorization", header.encode("latin-1"))]
    answer = service.client.request(method, path, json=GOOD, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"newsletter": None}, "newsletter"),
        ({"newsletter": {}}, "newsletter"),
        ({"newsletter": {"id": ""}}, "newsletter.id"),
        ({"newsletter": {"id": ".."}}, "newsletter.id"),
        ({"newsletter": {"id": "a\nb"}}, "newsletter.id"),
        ({"newsletter": {"id": "x" * 201}}, "newsletter.id"),
        ({"newsletter": {"id": "x", "tags": ["ok", 5]}}, "newsletter.tags[1]"),
        ({"newsletter": {"id": "x", "nmae": "typo"}}, "newsletter"),
        ({"recipient": ""}, "recipient"),
        ({"recipient": "   "}, "recipient"),
        ({"recipient": 7}, "recipient"),
        ({"html": None}, "html"),
        ({"tracking": {"opens": "yes"}}, "tracking.opens"),
        ({"utm": {"source": 1}}, "utm[...]"),
        ({"unknown": 1}, "body"),
    ],
)
def test_a_bad_field_is_named(service: Service, change: dict[str, Any], field: str) -> None:
    answer = service.client.post("/v1/rewrite", json={**GOOD, **change})
    problem = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["field"] == field
    assert problem["detail"]


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_field_is_named(service: Service, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    problem = service.client.post("/v1/rewrite", json=body).json()
    assert problem["status"] == 422
    assert missing in problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"html": "\\ud800"}'])
def test_what_is_no_json_is_a_bad_request(service: Service, body: bytes) -> None:
    answer = service.client.post("/v1/rewrite", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["detail"]


def test_html_over_the_limit_is_too_large(service: Service) -> None:
    answer = service.client.post("/v1/rewrite", json={**GOOD, "html": "é" * 5_000_001})
    assert answer.status_code == 413
    assert answer.json()["field"] == "html"
    assert "10,000,002" in answer.json()["detail"]
    answer = service.client.post("/v1/rewrite", content=b" " * 70_000_001)
    assert answer.status_code == 413


def test_ten_megabytes_of_html_are_rewritten(service: Service) -> None:
    html = '<a href="https://example.com/">x</a>' + "x" * 9_999_900
    answer = service.client.post("/v1/rewrite", json={**GOOD, "html": html})
    assert answer.status_code == 200
    assert len(answer.json()["html"]) > len(html)


def test_what_is_unknown_is_not_found(service: Service) -> None:
    for path in PATHS[1:]:
        answer = service.client.get(path.replace("api", "no-such"))
        assert answer.status_code == 404
        assert answer.json()["field"] == "newsletter_id"
    assert service.client.get("/v1/nothing").status_code == 404
    assert service.client.get("/v1/rewrite").status_code == 405


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("step=0", "step"),
        ("step=00000000199999999999", "step"),
        ("step=fortnight", "step"),
        ("from=2020-01-01&step=1", "step"),
        ("from=0001-01-01", "from"),
    ],
)
def test_a_bad_timeline_query_is_named(service: Service, query: str, field: str) -> None:
    service.rewrite("api", "<p>")
    service.settled()
    answer = service.client.get(f"/v1/newsletters/api/timeline?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


def test_names_and_tags_are_kept_as_last_told(service: Service) -> None:
    service.rewrite({"id": "named", "name": "Old"}, "<p>")
    newsletter = {"id": "named", "name": "Nëw", "subject": "Hi", "tags": ["a", "b"]}
    service.rewrite(newsletter, "<p>")
    service.settled()
    found = service.get("/v1/newsletters/named")
    assert (found["name"], found["subject"], found["tags"]) == ("Nëw", "Hi", ["a", "b"])
    assert found["messages"] == 2
    listed = service.get("/v1/newsletters", limit=1000)["newsletters"]
    assert found in listed


@pytest.mark.parametrize("newsletter", ["a/b", "a/stats", "%2F", "ü ß", "?x=1", "#", "a/../b", "+"])
def test_an_id_may_hold_any_character(service: Service, newsletter: str) -> None:
    service.rewrite(newsletter, "<p>")
    service.settled()
    assert service.stats(newsletter)["newsletter_id"] == newsletter


def test_paging_visits_every_newsletter_once(service: Service) -> None:
    for number in range(5):
        service.rewrite(f"page-{number}", "<p>")
    service.settled()
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = service.get("/v1/newsletters", limit=2, offset=offset)
        seen += [item["id"] for item in page["newsletters"]]
        offset = page["next_offset"]
    assert len(seen) == len(set(seen))
    assert {f"page-{number}" for number in range(5)} <= set(seen)
    for limit in ("0", "1001", "000000000001" + "9" * 5000):
        assert service.client.get(f"/v1/newsletters?limit={limit}").json()["field"] == "limit"


def test_the_timeline_adds_up(service: Service) -> None:
    answer = service.rewrite("line", "<p>")
    pixel = answer["html"].partition("/o/")[2].partition('"')[0]
    for _ in range(3):
        service.client.get(f"/o/{pixel}", headers={"user-agent": "curl/8"})
    service.settled()
    for step, seconds in [("minute", 60), ("hour", 3600), ("day", 86_400), ("15", 15)]:
        line = service.get("/v1/newsletters/line/timeline", step=step)
        assert line["step"] == seconds
        totals = [point["opens"] for point in line["points"]]
        assert sum(total["all"] for total in totals) == 3
        assert sum(total["machine"] for total in totals) == 3


def test_openapi_names_every_route_and_model(service: Service) -> None:
    document = service.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert set(paths) == {
        "/v1/rewrite",
        "/v1/rewrite/mime",
        "/v1/newsletters/{newsletter_id}/template",
        "/v1/newsletters/{newsletter_id}/messages",
        "/v1/newsletters",
        "/v1/newsletters/{newsletter_id}",
        "/v1/newsletters/{newsletter_id}/stats",
        "/v1/newsletters/{newsletter_id}/links",
        "/v1/newsletters/{newsletter_id}/agents",
        "/v1/newsletters/{newsletter_id}/mail-providers",
        "/v1/newsletters/{newsletter_id}/timeline",
        "/v1/newsletters/{newsletter_id}/report",
        "/v1/newsletters/{newsletter_id}/experiment",
        "/v1/newsletters/{newsletter_id}/experiment/assignments",
        "/v1/reclassify",
        "/v1/outcomes",
        "/v1/outcomes/{provider}",
        "/v1/events",
        "/v1/events/stream",
        "/v1/suppressions",
        "/v1/suppression-rules",
        "/v1/suppressions/check",
        "/v1/recipients/lookup",
        "/v1/recipients/export",
        "/v1/messages/search",
        "/v1/consent/lookup",
        "/v1/recipients/{recipient}",
        "/v1/messages",
        "/v1/messages/{message_id}",
        "/v1/segments",
        "/v1/recipients/{recipient}/export",
        "/v1/erasures",
        "/v1/erasures/{erasure_id}",
        "/v1/consent",
        "/v1/saved-segments",
        "/v1/saved-segments/{name}",
        "/v1/followups",
        "/v1/followups/{followup_id}",
        "/v1/webhooks",
        "/v1/webhooks/{webhook_id}",
        *(
            f"/v1/webhooks/{{webhook_id}}/{what}"
            for what in ("enable", "test", "deliveries", "replay")
        ),
    }
    assert "requestBody" in paths["/v1/rewrite"]["post"]
    assert "RewriteIn" in str(document["components"]["schemas"])


def test_the_docs_page_shows_every_route(service: Service) -> None:
    page = service.client.get("/docs")
    assert page.status_code == 200
    assert "/v1/newsletters/{newsletter_id}/timeline" in page.text
    assert "<script" not in page.text.replace('<script src="/static', "")
