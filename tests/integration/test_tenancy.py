"""Every route by scope, by role, and from another workspace: nothing is told, nothing changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.web.dashboard.forms import SESSION
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service
from tests.support.two_tenants import (
    Tenant,
    asked,
    close,
    filled,
    operations,
    pages,
    post,
    queries,
    shell,
    streamed,
    text,
    visitor,
)


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("walls") / "data") as running:
        running.ready()
        yield running
        close()


@pytest.fixture(scope="module")
def tenants(walled: Service) -> tuple[Tenant, Tenant]:
    made = Tenant(walled, "acme"), Tenant(walled, "zoo")
    walled.settled()
    return made


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    return pages(tmp_path_factory.mktemp("table") / "data")


def test_a_key_may_what_its_scope_says(walled: Service) -> None:
    keys = {
        scope: shell(walled, "keys", "add", f"only {scope}", "--scope", scope)
        for scope in ("rewrite", "outcomes", "read", "admin")
    }
    document = walled.client.get("/openapi.json").json()
    needs = {
        (method, path): operation.get("security", document["security"])[0]["key"][0]
        for method, path in operations(walled)
        for operation in [document["paths"][path][method.lower()]]
    }
    assert set(needs.values()) == set(keys) and len(needs) > 35
    ids = dict.fromkeys(
        ("newsletter_id", "webhook_id", "followup_id", "recipient", "name", "message_id"), "none"
    ) | {"erasure_id": "0", "provider": "brevo"}
    for (method, path), needed in [*needs.items(), (("GET", "/metrics"), "read")]:
        for scope, key in {**keys, "": "mw_none"}.items():
            headers = {"authorization": f"Bearer {key}"}
            status = asked(walled, method, filled(path, ids), headers)
            if not scope:
                assert status == 401, path
            elif scope in (needed, "admin"):
                assert status not in (401, 403), (method, path, scope)
            else:
                assert status == 403, (method, path, scope)
    told = walled.client.post("/v1/webhooks", headers={"authorization": f"Bearer {keys['read']}"})
    assert "does not have the scope 'admin'" in told.json()["detail"]


# As in the API, webhooks are for those who decide where data goes.
EDITORS = ("/webhooks/followups", "/segments", "/signals", "/home/answered")
ADMINS = ("/access", "/recipients", "/webhooks", "/suppression-rules")
EVERYBODYS = ("/account", "/logout", "/settings", "/search", "/messages")
OPEN = ("/login", "/u/", "/v1/")  # no session is needed; the API has its keys


def test_a_user_may_what_the_role_says(walled: Service, table: list[tuple[str, str]]) -> None:
    users = {role: visitor(walled, role) for role in ("viewer", "editor", "admin")}
    ids = {"webhook_id": "none", "followup_id": "none", "action": "test", "key": "1"}
    ids["newsletter_id"] = "none"
    for method, path in table:
        if method != "POST" or path.startswith(OPEN):
            continue
        if path.startswith(EVERYBODYS) or path.endswith("/recipients"):  # which searches
            may = {"viewer", "editor", "admin"}
        elif path.startswith(EDITORS) or path.endswith("/consent"):
            may = {"editor", "admin"}
        else:
            assert path.startswith(ADMINS), f"{path}: whose is it?"
            may = {"admin"}
        for role, client in users.items():
            assert client.post(filled(path, ids)).status_code == 403, f"{path} without a token"
            if path == "/logout":
                continue
            status = post(client, filled(path, ids)).status_code
            assert (status != 403) == (role in may), (path, role, status)
    for role, client in users.items():
        assert client.get("/access").status_code == (200 if role == "admin" else 403)
        shown = "".join(
            client.get(path).text for path in ("/webhooks", "/segments?opened=x", "/settings")
        )
        assert ("Add webhook" in shown) == (role == "admin")
        assert ("Save segment" in shown) == (role != "viewer")
        assert ('href="/access"' in shown) == (role == "admin")


def test_nobody_gets_in_without_a_session(walled: Service, table: list[tuple[str, str]]) -> None:
    ids = dict.fromkeys(
        ("newsletter_id", "webhook_id", "followup_id", "action", "token", "message_id"), "none"
    ) | {"key": "1"}
    public = ("/healthz", "/healthz/full", "/readyz", "/metrics", "/openapi.json", "/docs", *OPEN)
    with httpx2.Client(base_url=walled.url, trust_env=False, timeout=PATIENCE_SECONDS) as stranger:
        stranger.cookies.set(SESSION, "none")
        for method, path in table:
            if path.startswith(public):
                continue
            answer = stranger.request(method, filled(path, ids))
            assert answer.status_code in (303, 401), path
            if answer.status_code == 303:
                assert answer.headers["location"].startswith("/login?next="), path


def foreign(of: Tenant) -> dict[tuple[str, str], Any]:
    """Bodies that ask for what is another's, by operation."""
    mail = {"newsletter": {"id": of.newsletter}, "recipient": of.recipient, "html": "<p>x"}
    person = {"recipient": of.recipient}
    hook = {"url": "https://example.com/", "newsletters": [of.newsletter]}
    rule = {"name": "x", "webhook_id": of.ids["webhook_id"], "when": "clicked"}
    head = f"X-Mailwake-Newsletter: {of.newsletter}\r\nTo: {of.recipient}\r\n"
    return {
        ("POST", "/v1/rewrite"): mail,
        ("POST", "/v1/rewrite/mime"): f"{head}Content-Type: text/html\r\n\r\n<p>x".encode(),
        ("POST", "/v1/newsletters/{newsletter_id}/template"): {"html": "<p>theirs"},
        ("POST", "/v1/newsletters/{newsletter_id}/messages"): person,
        ("POST", "/v1/newsletters/{newsletter_id}/experiment"): {
            "variants": [{"variant": "A"}, {"variant": "B"}],
            "decide_after_messages": 100,
        },
        ("POST", "/v1/newsletters/{newsletter_id}/experiment/assignments"): {
            "recipients": [of.recipient]
        },
        ("DELETE", "/v1/newsletters/{newsletter_id}/experiment"): None,
        ("POST", "/v1/reclassify"): {},
        ("POST", "/v1/outcomes"): {
            "id": "theirs",
            "type": "complained",
            "message_id": of.ids["message_id"],
            "occurred_at": "2026-11-28T08:00:00Z",
        },
        ("POST", "/v1/outcomes/{provider}"): {
            "event": "spam",
            "email": of.recipient,
            "ts_event": 1764000000,
            "X-Mailin-custom": f"mailwake_message_id:{of.ids['message_id']}",
        },
        ("PUT", "/v1/suppression-rules"): {
            "bounces": False,
            "complaints": False,
            "soft_bounces": 1,
        },
        ("DELETE", "/v1/suppression-rules"): None,
        ("POST", "/v1/suppressions"): {**person, "newsletter_id": of.newsletter},
        ("DELETE", "/v1/suppressions"): {"recipient": f"{of.secret}@example.com"},
        ("POST", "/v1/webhooks"): hook,
        ("DELETE", "/v1/webhooks/{webhook_id}"): None,
        ("POST", "/v1/webhooks/{webhook_id}/enable"): None,
        ("POST", "/v1/webhooks/{webhook_id}/test"): None,
        ("POST", "/v1/webhooks/{webhook_id}/replay"): None,
        ("POST", "/v1/followups"): rule,
        ("DELETE", "/v1/followups/{followup_id}"): None,
        ("PUT", "/v1/saved-segments/{name}"): {"opened": "theirs"},
        ("DELETE", "/v1/saved-segments/{name}"): None,
        ("POST", "/v1/erasures"): person,
        ("POST", "/v1/recipients/lookup"): person,
        ("POST", "/v1/recipients/export"): person,
        ("POST", "/v1/messages/search"): person,
        ("POST", "/v1/suppressions/check"): {**person, "newsletter_id": of.newsletter},
        ("POST", "/v1/consent/lookup"): person,
        ("POST", "/v1/consent"): {**person, "axes": ["opens"]},
        ("DELETE", "/v1/consent"): person,
    }


def test_no_route_of_the_api_reaches_into_another_workspace(
    walled: Service, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, zoo = tenants
    before, bodies = acme.view(), foreign(acme)
    assert acme.secret in "".join(before.values())
    for method, path in operations(walled):
        url = filled(path, acme.ids | {"provider": "brevo"})
        query = queries(path, acme)
        if method != "GET":
            assert (method, path) in bodies, f"{method} {path}: how may it reach others?"
        body = bodies.get((method, path))
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        if path.endswith("/stream"):
            assert acme.secret not in streamed(zoo.api, url, {**query, "after": "0.0"}), path
            continue
        answer = zoo.api.request(method, url, params=query, **given)
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        told = text(answer).replace(f"{acme.secret}@example.com", "")  # what was asked with
        assert acme.secret not in told, f"{method} {path}"
    walled.drained()
    assert acme.view() == before


def test_the_same_names_are_different_things(tenants: tuple[Tenant, Tenant]) -> None:
    for tenant in tenants:
        found = tenant.ask("GET", "/v1/newsletters/both/stats").json()
        assert found["messages"] == found["opens"]["all"]["unique"] == len(tenant.name)
        person = tenant.ask("GET", "/v1/recipients/both@example.com").json()
        assert person["messages"] == len(tenant.name)
        events = tenant.ask("GET", "/v1/events", newsletter="both").text.splitlines()
        assert len(events) == 2 * len(tenant.name)


def test_no_page_reaches_into_another_workspace(
    walled: Service, tenants: tuple[Tenant, Tenant], table: list[tuple[str, str]]
) -> None:
    acme, zoo = tenants
    before = acme.view()
    fields = {
        "user": "admin of acme",
        "action": "remove",
        "session": "x",
        "name": acme.ids["name"],
        "webhook_id": acme.ids["webhook_id"],
        "when": "clicked",
        "forget": "1",
    }
    for method, path in table:
        if path.startswith(("/login", "/logout", "/u/", "/v1", "/metrics")):
            continue
        for action in ("test", "enable", "replay", "remove") if "{action}" in path else ("",):
            url = filled(path, {**acme.ids, "action": action})
            if method == "POST":
                answer = post(zoo.page, url, key=acme.ids["key_id"], **fields)
            elif path.endswith("/live"):
                assert acme.secret not in streamed(zoo.page, url, queries(path, acme)), path
                continue
            else:
                answer = zoo.page.get(url, params=queries(path, acme))
            assert answer.status_code < 500, f"{method} {path}: {answer.text}"
            assert acme.secret not in text(answer), f"{method} {path}"
    walled.drained()
    assert acme.view() == before
    assert acme.page.get("/account").status_code == 200
    own = "".join(acme.page.get(path).text for path in ("/", "/webhooks", "/segments"))
    assert own.count(acme.secret) > 3


def test_a_host_of_recipients_tells_nothing(
    walled: Service, tenants: tuple[Tenant, Tenant], tmp_path: Path
) -> None:
    acme, _ = tenants
    for client in (acme.api, acme.page):
        for path in ("/", "/v1/newsletters", "/login", "/metrics", "/docs"):
            answer = client.get(path, headers={"host": "acme.example"})
            assert (answer.status_code, answer.text) == (404, "Not found\n")
    assert acme.api.get("/metrics").status_code == 403  # of the whole service
    # Not even that the name exists there.
    shell(walled, "users", "add", "admin of acme", "--workspace", "zoo")
