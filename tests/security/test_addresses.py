"""No URL of ours contains an email address: not on a page, not in a redirect, and no log has one.

URLs are kept by browsers, proxies and logs. The pages are those of the application's own table.
"""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import unquote

import httpx2
import pytest

from tests.support.service import Service
from tests.support.two_tenants import (
    Tenant,
    close,
    filled,
    operations,
    pages,
    post,
    queries,
    shell,
    text,
)

ANN, MANY = "acme-id-ann@example.com", 60  # more recipients than a page shows
LEADING = ("href", "action", "formaction", "src", "srcset", "ping", "cite", "data", "poster")


class Urls(HTMLParser):
    """Collects the attributes of a page that lead somewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value or "" for name, value in attrs if name in LEADING or name.startswith("hx-")
        ]


def assert_no_address(answer: httpx2.Response, about: str) -> int:
    """Returns how many URLs the page has."""
    urls = [answer.headers.get("location", "")]
    if answer.headers.get("content-type", "").startswith("text/html"):
        urls += Urls(answer.text).found
    for url in urls:
        if url.startswith("mailto:"):  # it opens a mail program, and no log has it
            continue
        assert "@" not in unquote(unquote(unquote(url))), (about, url)
    return len(urls)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with Service(tmp_path_factory.mktemp("addresses") / "data") as service:
        service.ready()
        tenant = Tenant(service, "acme")
        recipients = [{"recipient": f"reader{n}@many.example"} for n in range(MANY)]
        lines = "".join(f"{json.dumps(line)}\n" for line in recipients)
        for variant in ("", "acme-secret-a"):
            shown = {"variant": variant} if variant else {}
            path = f"/v1/newsletters/{tenant.newsletter}/template"
            tenant.ask("POST", path, {"html": "<body>hello"}, **shown)
        sent = tenant.api.post(
            f"/v1/newsletters/{tenant.newsletter}/messages",
            content=lines.encode(),
            headers={"content-type": "application/x-ndjson"},
        )
        assert sent.status_code == 200, sent.text
        shell(service, "users", "add", "kim@example.com", "--workspace", "acme")
        tenant.ask("POST", "/v1/consent", {"recipient": ANN})
        service.drained()
        yield tenant
        close()


def test_no_page_leads_to_an_email_address(
    tenant: Tenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pages(tmp_path_factory.mktemp("table") / "data")
    ids, count, shown = {**tenant.ids, "token": "x"}, 0, ""
    for method, path in table:
        if method != "GET" or path.endswith("/live"):
            continue
        answer = tenant.page.get(filled(path, ids), params=queries(path, tenant))
        count += assert_no_address(answer, path)
        shown += answer.text
    assert count > 200
    for address in (ANN, "@many.example", "kim@example.com"):  # as text they are there
        assert address in shown
    for path in ("/recipients", f"/newsletters/{tenant.newsletter}/recipients"):
        for by in ("clicked", "opened", "address"):
            url, people = f"{path}?by={by}", set()
            for _ in range(5):
                page = tenant.page.get(url)
                assert_no_address(page, url)
                people |= set(re.findall(r"\w+@many\.example", page.text))
                following = re.search(r'href="([^"]+)" rel="next"', page.text)
                if not following:
                    break
                url = following[1].replace("&amp;", "&")
            assert len(people) == MANY, (path, by)


def test_a_search_ends_at_a_key_and_leaves_no_address(tenant: Tenant) -> None:
    key = tenant.ids["key"]
    for path in ("/recipients", f"/newsletters/{tenant.newsletter}/recipients"):
        for exact in (ANN, f" {ANN.upper()} "):
            answer = post(tenant.page, path, search=exact, show="all")
            assert answer.status_code == 303
            assert answer.headers["location"] == f"/recipients/{key}?show=all"
        several = post(tenant.page, path, search="READER1", show="all", by="address")
        assert several.status_code == 200
        assert set(re.findall(r"\w+@many\.example", several.text)) == {
            f"reader{n}@many.example" for n in (1, *range(10, 20))
        }
        many = post(tenant.page, path, search="@many.example")
        assert "These are the first 50." in many.text and 'rel="next"' not in many.text
        nobody = post(tenant.page, path, search="nobody@example.com")
        assert "No recipients match your search." in nobody.text
        old = tenant.page.get(path, params={"search": "reader1@many.example"})
        assert "reader1@many.example" in old.text
        for page in (several, many, nobody, old):
            assert_no_address(page, path)
        assert post(tenant.page, path, search="x" * 601).status_code == 422
        assert tenant.page.get(path, params={"after": f"0:1:{ANN}"}).status_code == 200


LOOKUPS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("/v1/recipients/lookup", {}, f"/v1/recipients/{ANN}"),
    ("/v1/recipients/export", {}, f"/v1/recipients/{ANN}/export"),
    ("/v1/consent/lookup", {}, f"/v1/consent?recipient={ANN}"),
    ("/v1/messages/search", {}, f"/v1/messages?recipient={ANN}"),
    ("/v1/suppressions/check", {}, f"/v1/suppressions/check?recipient={ANN}"),
    (
        "/v1/suppressions/check",
        {"newsletter_id": "acme-id-news"},
        f"/v1/suppressions/check?recipient={ANN}&newsletter=acme-id-news",
    ),
)


@pytest.mark.parametrize(("path", "more", "old"), LOOKUPS)
def test_a_body_gets_what_a_url_gets(
    tenant: Tenant, path: str, more: dict[str, str], old: str
) -> None:
    answer = tenant.api.post(path, json={"recipient": ANN, **more})
    by_url = tenant.api.get(old)
    assert (answer.status_code, by_url.status_code) == (200, 200), answer.text
    exported = r'"exported_at": ?"[^"]+"'
    assert re.sub(exported, "", text(answer)) == re.sub(exported, "", text(by_url))
    assert ANN in text(answer)
    for wrong, status in (({}, 422), ({"recipient": " "}, 422), ({"recipient": ANN, "x": 1}, 422)):
        assert tenant.api.post(path, json=wrong).status_code == status


def test_every_operation_on_a_recipient_has_a_way_without_the_url(tenant: Tenant) -> None:
    document = tenant.service.client.get("/openapi.json").json()["paths"]
    by_url = {
        path
        for method, path in operations(tenant.service)
        if any(
            parameter["name"] == "recipient"
            for parameter in document[path][method.lower()]["parameters"]
        )
    }
    assert by_url == {
        "/v1/recipients/{recipient}",
        "/v1/recipients/{recipient}/export",
        "/v1/consent",
        "/v1/messages",
        "/v1/suppressions/check",
    }
    assert {path for path, *_ in LOOKUPS} == {
        path
        for path, methods in document.items()
        if path.endswith(("/lookup", "/check", "/search", "/recipients/export"))
        and "post" in methods
    }


def test_no_log_has_an_address(tenant: Tenant) -> None:
    """It is asked last, after all of the above."""
    log = tenant.service.log.read_text()
    assert "@" not in log and "%40" not in log
    tenant.api.get(f"/v1/recipients/{ANN}%FF")
    tenant.page.get(f"/none/{ANN}", params={"search": ANN})
    log = tenant.service.log.read_text()
    assert "@" not in log and "%40" not in log
