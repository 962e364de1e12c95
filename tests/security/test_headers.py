"""Every answer of every route carries headers that let browsers store, frame and embed nothing.

The routes are those of the application's own tables, so that a new one is asked too: by a user and
a mailer with data of their own, and by strangers.
"""

import re
from collections.abc import Iterator

import httpx2
import pytest

from app.web.views.urls import asset
from tests.support.service import Service, paths, tracked_urls
from tests.support.two_tenants import Tenant, close, filled, opened, operations, pages, queries

FRAMED = "/newsletters/{newsletter_id:path}/clickmap/mail"  # by the page of the click map
COSTLY = ("/v1/reclassify", "/v1/erasures", "/recipients/{key:int}/erase", "/logout")


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with Service(tmp_path_factory.mktemp("headers") / "data") as service:
        service.ready()
        tenant = Tenant(service, "acme")
        service.drained()
        yield tenant
        close()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    return pages(tmp_path_factory.mktemp("table") / "data")


def headers(
    client: httpx2.Client, method: str, path: str, **params: str
) -> tuple[int, httpx2.Headers]:
    """Returns status and headers alone: a stream has no end."""
    with client.stream(method, path, params=params) as answer:
        return answer.status_code, answer.headers


def assert_safe(found: httpx2.Headers, about: object, framed: bool = False) -> None:
    assert found["cache-control"].startswith("no-store"), about
    assert found["cross-origin-opener-policy"] == "same-origin", about
    assert found["cross-origin-resource-policy"] == "same-origin", about
    assert "geolocation=()" in found["permissions-policy"], about
    assert found["x-content-type-options"] == "nosniff", about
    assert found["referrer-policy"] in ("no-referrer", "same-origin"), about
    policy = found["content-security-policy"]
    assert f"frame-ancestors '{'self' if framed else 'none'}'" in policy, about
    assert "default-src 'none'" in policy and policy.count("frame-ancestors") == 1, about
    assert "base-uri 'none'" in policy and "object-src" not in policy, about


def test_every_page_is_safe(tenant: Tenant, table: list[tuple[str, str]]) -> None:
    ids = {**tenant.ids, "token": "x", "action": "test"}
    statuses = set()
    assert len(table) > 40
    for client in (opened(tenant.service), tenant.page):
        for method, path in table:
            if path in COSTLY and client is tenant.page and method == "POST":
                continue
            status, found = headers(client, method, filled(path, ids), **queries(path, tenant))
            framed = path == FRAMED and client is tenant.page
            assert_safe(found, (method, path, status), framed)
            statuses.add(status)
    assert statuses >= {200, 303, 401, 403}
    for path in ("/none", "/newsletters/none", "/recipients/1", "/messages/x/y"):
        status, found = headers(tenant.page, "GET", path)
        assert_safe(found, (path, status))
        assert status == 404


def test_every_operation_is_safe(tenant: Tenant) -> None:
    statuses = set()
    for client in (opened(tenant.service), tenant.api):
        for method, path in operations(tenant.service):
            if path in COSTLY or (client is tenant.api and method == "DELETE"):
                continue
            status, found = headers(
                client, method, filled(path, tenant.ids), **queries(path, tenant)
            )
            assert_safe(found, (method, path, status))
            statuses.add(status)
    assert statuses >= {200, 400, 401}
    assert_safe(headers(tenant.api, "PATCH", "/v1/newsletters")[1], "a method that there is not")


def test_files_of_pages_are_public_and_stay_stored(tenant: Tenant) -> None:
    client = opened(tenant.service)
    first = client.get(asset("app.css"))
    again = client.get(asset("app.css"), headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    for answer in (first, again):  # what the second says replaces the first in caches (RFC 9111)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_pixels_may_be_embedded_and_nothing_of_a_hit_is_stored(tenant: Tenant) -> None:
    answer = tenant.service.rewrite("headers", '<a href="https://example.com/">x</a>')
    click, pixel = sorted(paths(tracked_urls(answer["html"])))
    client = opened(tenant.service)
    for path, status in ((pixel, 200), ("/o/x.gif", 200), (click, 302), ("/c/x/y", 404)):
        found = client.get(path)
        assert found.status_code == status
        assert re.match("no-store, ", found.headers["cache-control"]), path
        assert found.headers["x-content-type-options"] == "nosniff"
        embedded = found.headers.get("cross-origin-resource-policy") == "cross-origin"
        assert embedded == path.startswith("/o/"), path
