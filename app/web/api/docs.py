"""Documentation: /openapi.json for programs, /docs and /docs/counting for people, scriptless."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from app.paths import resource

Document = Mapping[str, Any]


class Field(NamedTuple):
    """A row of a model's table; `kind` is readable, `model` names the model it refers to."""

    name: str
    kind: str
    model: str
    required: bool
    description: str


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    summary: str
    takes: str
    gives: str
    scope: str
    errors: Sequence[str]
    parameters: Sequence[Field]  # of the query


def routes(document: Document, templates: Jinja2Templates, url: str) -> Sequence[Route]:
    """Returns the pages, made once: nothing in them changes while the service runs."""
    page = {
        "url": url,
        "operations": list(operations(document)),
        "models": {name: list(fields(schema)) for name, schema in _schemas(document).items()},
    }

    async def openapi(_: Request) -> Response:
        return JSONResponse(document)

    async def docs(request: Request) -> Response:
        return templates.TemplateResponse(request, "docs.html", page)

    counting = rules((resource("docs") / "counting.md").read_text())

    async def counts(request: Request) -> Response:
        return templates.TemplateResponse(request, "counting.html", {"text": Markup(counting)})  # noqa: S704

    return (
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/counting", counts),
    )


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
    """Returns every operation, in the document's order."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            yield Operation(
                method.upper(),
                path,
                " ".join(f"{operation['summary']} {operation.get('description', '')}".split()),
                _model(operation.get("requestBody", {})),
                next((_model(answers[code]) for code in answers if code.startswith("2")), ""),
                operation.get("security", document["security"])[0]["key"][0],
                [code for code in answers if not code.startswith("2")],
                list(parameters(operation)),
            )


def parameters(operation: Mapping[str, Any]) -> Iterator[Field]:
    """Returns the query parameters of an operation."""
    for each in operation["parameters"]:
        if each["in"] == "query":
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
            )


def fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Returns the fields of an object's schema."""
    required = schema.get("required", ())
    for name, kind in schema.get("properties", {}).items():
        model = _reference(kind) or _reference(kind.get("items", {}))
        yield Field(name, _kind(kind), model, name in required, kind.get("description", ""))


def _schemas(document: Document) -> dict[str, Any]:
    return dict(document["components"]["schemas"])


def _model(body: Mapping[str, Any]) -> str:
    schemas = [media["schema"] for media in body.get("content", {}).values()]
    several = [kind for schema in schemas for kind in schema.get("anyOf", [schema])]
    return next((name for schema in several if (name := _reference(schema))), "")


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
