"""Builds the most expensive input of each allowed size, for every operation of the API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from app.rewriting import links, merge_fields
from app.rewriting.header_fields import MAX_HEAD_BYTES
from app.rewriting.mime import MAX_DEPTH, MAX_PARTS
from app.schemas.fields import MAX_UTM
from app.web.api.app import OPERATIONS
from app.web.api.outcomes import MAX_BATCH_BYTES, MAX_LINES

HTML_BYTES = 10_000_000  # MAILWAKE_MAX_HTML_MB's default
NDJSON = "application/x-ndjson"
MAIL = "message/rfc822"


class Input(NamedTuple):
    """A request; `name` says what is expensive in it."""

    name: str
    method: str
    path: str
    body: bytes = b""
    media_type: str = "application/json"


def repeated(piece: str, size: int) -> str:
    """Returns as many whole pieces as fit into a size in characters."""
    return piece * (size // len(piece))


def htmls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields mails of the largest size or number, and what else their requests have."""
    count = links.MAX_LINKS
    plain = "".join(f"<a href=https://e.example/{number}>x</a>" for number in range(count))
    relative = "".join(f"<a href={number}>x</a>" for number in range(count))
    yield "links", plain, {}
    utm = {f"u{number}": "é" * 1_000 for number in range(MAX_UTM)}
    yield "links and UTM parameters", plain, {"utm": utm}
    short = {f"u{number}": "x" for number in range(MAX_UTM)}
    yield "links and short UTM parameters", plain, {"utm": short}
    yield "base", f"<base href=https://e.example/{'a' * 1_900}/>{relative}", {}
    yield "long base", f"<base href=https://e.example/{'a' * 5_000_000}/>{relative}", {}
    yield "hosts", "".join(f"<a href=https://{n}é.example/>x</a>" for n in range(count)), {}
    references = "&amp;" * 24
    yield "references", f"<a href='https://e.example/?{references}'>{references}</a>" * 10_000, {}
    for name, piece in (
        ("tags", "<a"),
        ("less-than signs", "<"),
        ("elements", "<b>"),
        ("comments", "<!--"),
        ("conditional comments", "<!--[if mso]>"),
        ("attributes", "<a a=b "),
        ("quotes", "<a href='"),
        ("fields", "{{"),
        ("field names", "{{a}}"),
        ("tables", "<td><td>"),
        ("scripts", "<script>"),
        ("titles", "<title>"),
    ):
        yield name, repeated(piece, HTML_BYTES), {}
    fields = "<p>{{a}}</p><a href='https://e.example/{{a}}'>x</a>"
    filled = fields * (merge_fields.MAX_PLACES // 2)
    yield "values", filled, {"values": {"a": "&" * 400}}
    yield "hosts of values", "<a href='https://{{a}}'>x</a>" * 1_999, {"values": {"a": "b." * 200}}


def texts() -> Iterator[tuple[str, str]]:
    """Yields texts of the largest size or number."""
    yield "links", "".join(f"https://e.example/{number}\n" for number in range(links.MAX_LINKS))
    yield "long lines", repeated("https://e.example/ ", 19 * links.MAX_LINKS)
    for name, piece in (("brackets", "("), ("schemes", "http"), ("fields", "{{a}}"), ("URL", "a)")):
        yield name, repeated(piece, HTML_BYTES - 20)
    yield "one URL", "https://e.example/" + ")" * (HTML_BYTES - 100)


def mails() -> Iterator[tuple[str, bytes]]:
    """Yields whole messages of the largest size or number."""
    head = b"X-Mailwake-Newsletter: worst\r\nTo: ann@example.com\r\nSubject: x\r\n"
    html = b"Content-Type: text/html\r\n\r\n<a href=https://e.example/>x</a>"
    size = MAX_HEAD_BYTES - 1_000
    for name, word in (
        ("words", "=?utf-8?q??= "),
        ("words of unknown charsets", "=?x-{}?q?a?= "),
        ("words of other charsets", "=?iso-2022-jp?b?GyRC?= "),
        ("words of alternating charsets", "=?koi8-r?q?=e9?= =?big5?q?=e9?= "),
    ):
        words = "".join(word.format(number) for number in range(32_000 // len(word)))
        field = "".join(f"X-Mailwake-Meta-{n}: {words}\r\n" for n in range(19)).encode()
        yield name, head + field[:size].rpartition(b"\r\n")[0] + b"\r\n" + html
    yield "fields", head + b"a:\r\n" * 9_000 + html
    yield "addresses", b"To: " + b"<" * (size // 2) + b"\r\n" + head + html
    part = b"--b\r\n" + html + b"\r\n"
    mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    yield "parts", head + mixed + part * (MAX_PARTS + 10)
    yield "boundaries", head + mixed + b"\r\n--b" * (2 * HTML_BYTES // 8)
    yield "parameters", head + b"Content-Type: text/html" + b";a*0*=''b" * 3_000 + b"\r\n\r\nx"
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(MAX_DEPTH + 2)
    )
    yield "depth", head + nested + html
    many = b"".join(b"<a href=3D'https://e.example/%d'>x</a>=\r\n" % n for n in range(19_000))
    coded = b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    yield "quoted-printable", head + coded + many
    yield "soft line breaks", head + coded + b"=\r\n" * (2 * HTML_BYTES // 4)
    flowed = b"Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\n"
    track = b"X-Mailwake-Track: opens, clicks, text\r\n"
    yield "flowed text", head + track + flowed + b"https://e.example/ " * 19_000
    base64 = b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    yield "base64", head + base64 + b"PGEg\r\n" * (2 * HTML_BYTES // 8)


# The most that each field of other requests may hold; none is longer than its body may be.
_NAMES = ["n" * 140 + str(number) for number in range(100)]
_LINES = ["l" * 300 + str(number) for number in range(100)]
_FILTERS = {
    "newsletters": _NAMES,
    "labels": _LINES,
    "tags": ["t" * 90 + str(number) for number in range(100)],
    "hosts": ["h.example"] * 100,
}
OUTCOME = {
    "id": "i" * 200,
    "type": "bounced",
    "permanent": True,
    "occurred_at": "2026-11-28T08:00:00Z",
    "recipient": "r" * 512,
    "rfc_message_id": "m" * 998,
    "code": "@" * 100,
    "text": '"a' * 1_000,
}
BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/v1/consent"): {"recipient": "r" * 512, "axes": ["opens"] * 10},
    ("DELETE", "/v1/consent"): {"recipient": "r" * 512, "axes": ["opens"] * 10},
    ("POST", "/v1/outcomes"): OUTCOME,
    ("POST", "/v1/suppressions"): {"recipient": "r" * 512, "newsletter_id": "n" * 200},
    ("DELETE", "/v1/suppressions"): {"recipient": "r" * 512, "newsletter_id": "n" * 200},
    ("PUT", "/v1/suppression-rules"): {"bounces": True, "complaints": True, "soft_bounces": 100},
    ("POST", "/v1/suppressions/check"): {"recipient": "r" * 512, "newsletter_id": "n" * 200},
    ("POST", "/v1/consent/lookup"): {"recipient": "r" * 512},
    ("POST", "/v1/recipients/lookup"): {"recipient": "r" * 512},
    ("POST", "/v1/recipients/export"): {"recipient": "r" * 512},
    ("POST", "/v1/messages/search"): {
        "metadata": {f"{'k' * 60}{number}": "v" * 500 for number in range(20)},
        "recipient": "r" * 512,
        "newsletter_id": "n" * 200,
        "limit": 1_000,
    },
    ("POST", "/v1/erasures"): {"recipient": "r" * 512},
    ("POST", "/v1/reclassify"): {},
    ("PUT", "/v1/saved-segments/{name}"): {"clicked_tag": ["t" * 200] * 20, "opened": "n" * 200},
    ("POST", "/v1/newsletters/{newsletter_id}/experiment"): {
        "variants": [{"variant": f"{'v' * 40}{n}", "weight": 1_000} for n in range(20)],
        "figure": "link",
        "link": "l" * 2_000,
        "decide_after_messages": 1_000_000_000,
    },
    ("POST", "/v1/newsletters/{newsletter_id}/experiment/assignments"): {
        "recipients": ["r" * 90 + f"{number}@example.com" for number in range(10_000)]
    },
    ("POST", "/v1/webhooks"): {
        "url": "https://e.example/" + "u" * 1_900,
        **_FILTERS,
        "paths": ["/*" * 20] * 100,
    },
    ("POST", "/v1/followups"): {
        "name": "f" * 100,
        "webhook_id": "wh_none",
        "when": "clicked",
        **_FILTERS,
        "paths": ["/*" * 20] * 100,
    },
}
QUERIES: Mapping[str, str] = {
    "/v1/events": "&".join(f"path=/{'*a' * 40}{n}" for n in range(20)),
    "/v1/messages": f"metadata.{'k' * 64}={'v' * 500}",
    "/v1/consent": f"recipient={'r' * 512}",
    "/v1/suppressions/check": f"recipient={'r' * 512}",
    "/v1/segments": f"clicked_path={'*a' * 240}",
    "/v1/newsletters/{newsletter_id}/timeline": (
        "from=1971-01-01T00:00:00Z&to=2199-01-01T00:00:00Z"
    ),
}
OF_MAIL = (
    "/v1/rewrite",
    "/v1/rewrite/mime",
    "/v1/newsletters/{newsletter_id}/template",
    "/v1/newsletters/{newsletter_id}/messages",
)
ENDLESS = ("/v1/events/stream",)  # its own cost is that of /v1/events, again and again


def other_inputs() -> Iterator[Input]:
    """Yields a request for every operation that takes no mail."""
    for operation in OPERATIONS:
        path = operation.path
        if path in ENDLESS or path in OF_MAIL:
            continue
        body = BODIES.get((operation.method, path))
        query = QUERIES.get(path) if operation.method == "GET" else None
        target = filled(path) + (f"?{query}" if query else "")
        content = json.dumps(body).encode() if body is not None else b""
        yield Input("longest fields", operation.method, target, content)
    for text in ("x", "a@", "a@b ", '"@', '"', "\x01a"):
        short = {**OUTCOME, "recipient": "r", "rfc_message_id": "m", "id": "i"}
        lines = json.dumps({**short, "text": text * (700 // len(text))}).encode() + b"\n"
        batch = lines * min(MAX_LINES, MAX_BATCH_BYTES // len(lines))
        yield Input(f"outcomes: {text!r}", "POST", "/v1/outcomes", batch, NDJSON)


def mail_inputs() -> Iterator[Input]:
    """Yields requests with the most expensive mails."""
    plain = "<a href=https://e.example/>x</a>"
    for name, html, more in htmls():
        yield rewriting(name, html, **more)
    for name, text in texts():
        yield rewriting(f"text: {name}", plain, text=text, tracking={"text": True})
    zeros = b'{"newsletter":{"id":"worst"},"recipient":"a@e.example","html":"'
    yield Input("escapes", "POST", "/v1/rewrite", zeros + b"\\u0001" * (HTML_BYTES - 10) + b'"}')
    for name, mail in mails():
        yield Input(name, "POST", "/v1/rewrite/mime?dry_run=1", mail, MAIL)
    for name, html, more in htmls():
        more.pop("values", None)
        body = json.dumps({"html": html, **more}).encode()
        yield Input(f"template: {name}", "POST", "/v1/newsletters/worst/template", body)


def rewriting(name: str, html: str, **more: Any) -> Input:
    """Returns a request to rewrite HTML."""
    body = {"newsletter": {"id": "worst"}, "recipient": "a@e.example", "html": html, **more}
    return Input(name, "POST", "/v1/rewrite", json.dumps(body).encode())


def filled(path: str) -> str:
    """Returns a path with the longest parameters that are accepted."""
    for name, value in (
        ("newsletter_id", "n" * 200),
        ("recipient", "r" * 500 + "@e.example"),
        ("message_id", "0" * 32),
        ("name", "n" * 100),
    ):
        path = path.replace("{" + name + "}", quote(value, safe=""))
    for name in ("webhook_id", "followup_id", "erasure_id"):
        path = path.replace("{" + name + "}", "9" * 15)
    return path
