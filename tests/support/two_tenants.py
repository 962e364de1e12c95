"""Creates two tenants of one service, each with data of every kind, and all requests for it."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from starlette.routing import Route
from typer.testing import CliRunner

from app.auth.workspaces import Workspaces
from app.cli.main import cli
from app.model.ids import recipient_key
from app.server.service import Mailwake
from app.settings.load import load, with_secrets
from app.storage.state_db import open_state
from app.web.dashboard.forms import SESSION, csrf
from tests.support.hit_load import PERSON
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

# Paths that are created at each request, are streams, or do not exist yet.
MOVING = ("/stream", "/export", "/report", "/timeline", "{erasure_id}")
OPENED: list[httpx2.Client] = []


def shell(service: Service, *words: str) -> str:
    """Returns a command's output on the service's data folder, while the service runs."""
    done = CliRunner().invoke(cli, [*words, "--data-dir", str(service.data_dir)])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def opened(service: Service, **headers: str) -> httpx2.Client:
    """Returns a client that `close` closes."""
    client = httpx2.Client(
        base_url=service.url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS
    )
    OPENED.append(client)
    return client


def close() -> None:
    """Close all clients, at the end of a file of tests."""
    while OPENED:
        OPENED.pop().close()


def asked(service: Service, method: str, path: str, headers: dict[str, str]) -> int:
    """Returns the status alone: a stream would never end."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_SECONDS)
    with closing(connection):
        connection.request(method, path, headers=headers)
        with connection.getresponse() as answer:
            return answer.status


def streamed(client: httpx2.Client, path: str, query: dict[str, Any]) -> str:
    """Returns what a stream sends until it is silent for a second."""
    port, received = client.base_url.port or 0, b""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    headers = {"authorization": client.headers.get("authorization", ""), "cookie": cookies}
    with closing(connection):
        connection.request("GET", f"{path}?{urlencode(query)}", headers=headers)
        peer = connection.sock
        with connection.getresponse() as answer:
            peer.settimeout(1)
            while part := _part(answer):
                received += part
    return received.decode()


def _part(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1()
    except TimeoutError:
        return b""


def visitor(service: Service, role: str = "admin", workspace: str = "default") -> httpx2.Client:
    """Returns a client of a new user, logged in by a link."""
    name = f"{role} of {workspace}"
    link = shell(service, "users", "add", name, "--role", role, "--workspace", workspace)
    client = opened(service)
    assert service.enter(client, link[link.index("/login") :]).is_redirect
    return client


def post(client: httpx2.Client, path: str, **fields: str) -> httpx2.Response:
    """Send a form of this session."""
    return client.post(path, data={"csrf": csrf(client.cookies[SESSION]), **fields})


class Tenant:
    """A tenant: others may ask for `name-id-*`, and only this one may see `name-secret-*`."""

    def __init__(self, service: Service, name: str) -> None:
        self.service, self.name, self.secret = service, name, f"{name}-secret"
        shell(service, "workspaces", "add", name, f"http://{name}.example")
        key = shell(
            service, "keys", "add", f"{name}-id-key", "--workspace", name, "--scope", "admin"
        )
        self.api = opened(service, authorization=f"Bearer {key}")
        self.page = visitor(service, "admin", name)
        shown = {"authorization": f"Bearer {key}"}
        known = lambda: asked(service, "GET", "/v1/newsletters", shown) == 200  # noqa: E731
        service.wait_for(known, name)
        self.newsletter, self.recipient = f"{name}-id-news", f"{name}-id-ann@example.com"
        self.ids = self._fill()

    def _fill(self) -> dict[str, str]:
        secret, tag = self.secret, f"{self.secret}-tag"
        named = {
            "id": self.newsletter,
            "name": f"{secret}-name",
            "subject": f"{secret}-subject",
            "tags": [tag],
        }
        html = f'<body><a href="https://{secret}.example/" data-track-tag="{tag}">{secret}</a>'
        mail = {
            "newsletter": named,
            "recipient": self.recipient,
            "html": html,
            "sample": True,
            "metadata": {"order": f"{self.name}-id-order", "said": secret},
            "rfc_message_id": f"{self.name}-id-mail@example.com",
        }
        both = {**mail, "newsletter": {"id": "both"}, "recipient": "both@example.com"}
        for body in [both] * len(self.name) + [mail]:
            answer = self.ask("POST", "/v1/rewrite", body).json()
            own = answer["html"].replace(f"http://{self.name}.example", "http://127.0.0.1:1")
            for path in paths(tracked_urls(own)):
                host = {"host": f"{self.name}.example", "user-agent": PERSON}
                assert self.service.client.get(path, headers=host).status_code in (200, 302)
        template = f"/v1/newsletters/{self.newsletter}/template"
        self.ask("POST", template, {"html": html, "name": f"{secret}-name"})
        split = {
            "variants": [{"variant": f"{secret}-a"}, {"variant": f"{secret}-b"}],
            "decide_after_messages": 1_000_000,
            "figure": "link",
            "link": f"{secret}-link",
        }
        self.ask("POST", f"/v1/newsletters/{self.newsletter}/experiment", split)
        self.ask("POST", f"{template}?variant={secret}-a", {"html": html, "name": f"{secret}-name"})
        webhook = self.ask(
            "POST",
            "/v1/webhooks",
            {"url": f"https://{secret}.example/", "types": ["followup.due"]},
        ).json()
        rule = {
            "name": f"{secret}-rule",
            "webhook_id": webhook["id"],
            "when": "not_opened",
            "after_hours": 720,
        }
        follow = self.ask("POST", "/v1/followups", rule).json()
        saved = {"opened": f"{secret}-segment"}
        self.ask("PUT", f"/v1/saved-segments/{self.name}-id-segment", saved)
        self.ask("POST", "/v1/suppressions", {"recipient": f"{secret}@example.com"})
        listed = shell(self.service, "keys", "list", "--workspace", self.name)
        key_id = re.search(r"key_\w+", listed)
        assert key_id
        settings = with_secrets(load(data_dir=self.service.data_dir))
        own = Workspaces(open_state(settings.data_dir), settings).get(self.name)
        return {
            "newsletter_id": self.newsletter,
            "recipient": self.recipient,
            "provider": "none",
            "webhook_id": webhook["id"],
            "followup_id": follow["id"],
            "name": f"{self.name}-id-segment",
            "key_id": key_id[0],
            "key": str(recipient_key(own.recipient_key, self.name, self.recipient)),
            "erasure_id": "1",
            "message_id": answer["message_id"],
        }

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> httpx2.Response:
        """Send one request that must succeed."""
        answer = self.api.request(method, path, json=body, params=query)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return answer

    def view(self) -> dict[str, Any]:
        """Returns all that the API shows this tenant of its own data."""
        answers = {}
        for method, path in operations(self.service):
            if method == "GET" and not path.endswith(MOVING):
                answer = self.api.get(filled(path, self.ids), params=queries(path, self))
                assert answer.status_code == 200, f"{path}: {answer.text}"
                answers[path] = answer.text
        return answers


def operations(service: Service) -> Iterator[tuple[str, str]]:
    """Yields method and path of every operation in the API's own description."""
    document = service.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), path


def filled(path: str, ids: dict[str, str]) -> str:
    """Returns a path with some ids in it; an unknown path fails."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda name: quote(ids[name[1]], safe=""), path)


def queries(path: str, of: Tenant) -> dict[str, Any]:
    """Returns the query parameters that a GET needs or may have."""
    if path.endswith("/suppressions/check"):
        return {"recipient": of.recipient, "newsletter": of.newsletter}
    if path.endswith("/consent"):
        return {"recipient": of.recipient}
    if path in ("/compare", "/v1/events", "/v1/events/stream"):
        return {"newsletter": of.newsletter}
    if path == "/v1/messages":
        return {"metadata.order": f"{of.name}-id-order"}
    if path.endswith("/segments") or path.startswith("/segments"):
        return {"opened": of.newsletter}
    return {}


def pages(folder: Path) -> list[tuple[str, str]]:
    """Returns method and path of every page in the application's own table."""
    settings = with_secrets(load(data_dir=folder, public_url="http://x"))
    table = Mailwake(settings).starlette.routes
    return [
        (method, route.path)
        for route in table
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def text(answer: httpx2.Response) -> str:
    """Returns the text of an answer, with JSON's escapes resolved."""
    try:
        return json.dumps(answer.json(), ensure_ascii=False)
    except ValueError:
        return answer.text
