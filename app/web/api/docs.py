"""Documentation: /openapi.json for programs, /docs and /docs/counting for people."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from app.paths import resource
from app.web.api import samples
from app.web.api.operation import JSON
from app.web.api.samples import SampleRequest

Document = Mapping[str, Any]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
MARKDOWN = MarkdownIt("commonmark", {"html": False})


class Field(NamedTuple):
    """A row of a model's table; `kind` is readable, `model` names the model it refers to."""

    name: str
    kind: str
    model: str
    required: bool
    description: str
    example: str = ""
    place: str = "body"  # or path, query
    deprecated: bool = False

    @property
    def html(self) -> Markup:
        """Returns the description as HTML."""
        return _html(self.description, inline=True)


class Answer(NamedTuple):
    """An answer by its status; `example` is what its body contains."""

    status: str
    name: str
    media: str
    example: str
    headers: Sequence[tuple[str, str]]


class Operation(NamedTuple):
    """One method of one path. `takes` and `gives` name models; `body` is the example's body."""

    name: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    takes: str
    gives: str
    scope: str
    errors: Sequence[str]
    parameters: Sequence[Field]
    media: str
    body: str
    answer: Answer
    problems: Sequence[Answer]
    samples: Mapping[str, str]

    @property
    def query(self) -> Sequence[Field]:
        """Returns the query parameters."""
        return [field for field in self.parameters if field.place == "query"]

    @property
    def html(self) -> Markup:
        """Returns the description as HTML."""
        return _html(self.description)

    @property
    def title(self) -> str:
        """Returns the name as a heading."""
        words = self.name.replace("_", " ").capitalize()
        return words.replace(" mime", " MIME").replace(" url", " URL")

    @property
    def lead(self) -> Markup:
        """Returns the summary as HTML."""
        return _html(self.summary, inline=True)

    @property
    def changes(self) -> bool:
        """Returns whether a request may delete something: it is asked about first."""
        return self.method == "DELETE" or self.name.startswith("erase")


class Group(NamedTuple):
    """Operations of one area."""

    name: str
    description: str
    operations: Sequence[Operation]


def routes(document: Document, templates: Jinja2Templates) -> Sequence[Route]:
    """Returns the pages. They are rendered once, in a thread, on the first request."""

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document)

    @cache
    def rendered() -> str:
        return templates.get_template("docs.html").render(page(document))

    async def openapi(_: Request) -> Response:
        return Response(await asyncio.to_thread(encoded), media_type=JSON)

    async def docs(_: Request) -> Response:
        html = await asyncio.to_thread(rendered)
        return HTMLResponse(html, headers={"content-security-policy": POLICY})

    counting = rules((resource("docs") / "counting.md").read_text())

    async def counts(request: Request) -> Response:
        return templates.TemplateResponse(request, "counting.html", {"text": Markup(counting)})  # noqa: S704

    return (
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/counting", counts),
    )


def page(document: Document) -> dict[str, Any]:
    """Returns what /docs shows."""
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    by_tag = groupby(operations(document), lambda operation: operation.tag)
    return {
        "url": document["servers"][0]["url"],
        "about": _html(document["info"]["description"]),
        "version": document["info"]["version"],
        "groups": [Group(tag, about[tag], list(members)) for tag, members in by_tag],
        "models": {
            name: (_html(schema.get("description", "")), list(fields(schema)))
            for name, schema in _schemas(document).items()
        },
    }


def rules(text: str) -> str:
    """Returns the page on counting as HTML, without links to pages that are not served."""
    html = MarkdownIt("commonmark").enable("table").render(text)
    html = re.sub(r'<a href="[\w/.-]+\.md[^"]*">(.*?)</a>', r"\1", html, flags=re.DOTALL)
    html = re.sub(
        r"<h2>(\w+)</h2>", lambda head: f'<h2 id="{head[1].lower()}">{head[1]}</h2>', html
    )
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    return html.replace("</table>", "</table></div>")


def operations(document: Document) -> Iterator[Operation]:
    """Returns every operation, in the document's order of areas."""
    base = document["servers"][0]["url"]
    places = {tag["name"]: place for place, tag in enumerate(document["tags"])}
    rows = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for path, method, operation in sorted(rows, key=lambda row: places[row[2]["tags"][0]]):
        answers = [_answer(status, answer) for status, answer in operation["responses"].items()]
        answer = next(answer for answer in answers if answer.status.startswith("2"))
        problems = [answer for answer in answers if not answer.status.startswith("2")]
        media, body = next(
            ((media, shown["example"]) for media, shown in _content(operation, "requestBody")),
            ("", None),
        )
        rows_of_parameters = list(parameters(operation))
        request = _request(base, path, method, operation, (media, body), answer.media)
        yield Operation(
            operation["operationId"],
            method.upper(),
            path,
            operation["tags"][0],
            operation["summary"],
            operation.get("description", ""),
            _model(operation.get("requestBody", {})),
            next((_model(operation["responses"][one.status]) for one in answers), ""),
            operation.get("security", document["security"])[0]["key"][0],
            [problem.status for problem in problems],
            rows_of_parameters,
            media,
            _text(media, body),
            answer,
            problems,
            {
                "curl": samples.curl(request),
                "Python": samples.python(request),
                "JavaScript": samples.javascript(request),
            },
        )


def _request(
    base: str,
    path: str,
    method: str,
    operation: Mapping[str, Any],
    body: tuple[str, Any],
    answer_media: str,
) -> SampleRequest:
    """Returns the example's request."""
    examples = [each for each in operation["parameters"] if "example" in each]
    values = {each["name"]: each["example"] for each in examples if each["in"] == "path"}
    query = {each["name"]: _plain(each["example"]) for each in examples if each["in"] == "query"}
    url = samples.url_of(base, path, values)
    return SampleRequest(method.upper(), url, query, *body, answer_media)


def _plain(example: Any) -> str:
    """Returns an example of a query parameter as it is written in a URL."""
    if isinstance(example, list):
        (example,) = example
    return str(example).lower() if isinstance(example, bool) else str(example)


def _answer(status: str, answer: Mapping[str, Any]) -> Answer:
    media, shown = next(iter(answer["content"].items()))
    headers = [(name, each["description"]) for name, each in answer.get("headers", {}).items()]
    return Answer(status, answer["description"], media, _text(media, shown["example"]), headers)


def _content(operation: Mapping[str, Any], part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from operation.get(part, {}).get("content", {}).items()


def _text(media: str, example: Any) -> str:
    """Returns an example as it is shown."""
    if media in (JSON, "application/problem+json"):
        return json.dumps(example, indent=2, ensure_ascii=False)
    return str(example or "")


def _html(text: str, inline: bool = False) -> Markup:
    """Returns Markdown of our own docstrings as HTML."""
    return Markup(MARKDOWN.renderInline(text) if inline else MARKDOWN.render(text))  # noqa: S704


def parameters(operation: Mapping[str, Any]) -> Iterator[Field]:
    """Returns the parameters of an operation's path and query."""
    for each in operation["parameters"]:
        schema = each["schema"]
        bounds = [
            f"{word} {schema[key]:,}"
            for key, word in (("minimum", "from"), ("maximum", "to"))
            if key in schema
        ]
        default = f"Default: {schema['default']}." if schema.get("default") else ""
        about = (each["description"], default)
        yield Field(
            each["name"],
            " ".join([_kind(schema), *bounds]),
            "",
            each["required"],
            " ".join(text for text in about if text),
            _plain(each["example"]) if "example" in each else "",
            each["in"],
            each.get("deprecated", False),
        )


def fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Returns the fields of an object's schema."""
    required = schema.get("required", ())
    for name, kind in schema.get("properties", {}).items():
        model = _reference(kind) or _reference(kind.get("items", {}))
        yield Field(
            name,
            _kind(kind),
            model,
            name in required,
            kind.get("description", ""),
            deprecated=kind.get("deprecated", False),
        )


def _schemas(document: Document) -> dict[str, Any]:
    return dict(document["components"]["schemas"])


def _model(body: Mapping[str, Any]) -> str:
    schemas = [_values(media["schema"]) for media in body.get("content", {}).values()]
    several = [kind for schema in schemas for kind in schema.get("anyOf", [schema])]
    return next((name for schema in several if (name := _reference(schema))), "")


def _values(schema: Any) -> Any:
    """Returns the schema of the values that a text contains: lines, or the data of events."""
    items = schema.get("contentSchema", {}).get("items", schema)
    return items.get("properties", {}).get("data", items).get("contentSchema", items)


def _reference(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return ""
    if schema.get("allOf"):
        schema = schema["allOf"][0]
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(schema: Mapping[str, Any]) -> str:
    if model := _reference(schema):
        return model
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"{option}" for option in schema["enum"])
    kind = str(schema.get("format") or schema.get("type", "any"))
    if kind == "array":
        items = schema.get("items", schema.get("prefixItems", {}))
        return f"list of {_kind(items) if isinstance(items, Mapping) else 'any'}"
    return kind
