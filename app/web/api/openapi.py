"""The OpenAPI 3.1 document of the API, from its operations and msgspec's JSON schemas.

It is written for generators of clients, which tests/e2e/test_generated_clients.py runs. Bodies that
are no JSON value are strings; `contentSchema` describes the values that they contain (JSON Schema
2020-12, section 8.5 of its validation), `format: binary` lets generators pass them on as bytes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect

from app import __version__
from app.schemas.fields import Id, Recipient, SegmentName
from app.schemas.problem import Problem
from app.web.api import examples
from app.web.api.examples import EXAMPLES, PROBLEMS
from app.web.api.operation import EVENT_STREAM, JSON, MAIL, NDJSON, Area, Content, Operation

Schema = dict[str, Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})
PROBLEM = Content("application/problem+json", Problem)
Identifier = Annotated[str, Meta(max_length=200)]  # of the service: a longer one does not exist
# Parameters of paths: their types, and what they are.
PATH: Mapping[str, tuple[Any, str]] = {
    "newsletter_id": (Id, "ID of the newsletter, percent-encoded (a slash is %2F)."),
    "recipient": (Recipient, "The recipient's email address or ID, percent-encoded."),
    "message_id": (Identifier, "ID of the message."),
    "webhook_id": (Identifier, "ID of the webhook."),
    "followup_id": (Identifier, "ID of the follow-up."),
    "erasure_id": (Identifier, "ID of the erasure."),
    "name": (SegmentName, "Name of the saved segment, percent-encoded."),
}
ERROR_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "The scheme of API keys."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
# Repeated parameters may fill more than the head of a request (app/server/connections.py).
HEAD_TOO_LARGE: Schema = {
    "description": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE.phrase,
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": "The request line and header fields must have at most 65536 bytes and 200"
            " fields.",
        }
    },
}
DESCRIPTION = """Open and click tracking for outgoing mail.

**API keys.** Every request carries `Authorization: Bearer KEY`. Each operation names the scope that
the key needs.

**Errors** are `application/problem+json` (RFC 9457). `detail` says what is wrong, `field` where.
Unknown fields and parameters are refused.

**Pages.** Lists have a `limit` and return `next_after`. Pass it as `after` to get the next page; on
the last page it is null.

**Times** are RFC 3339: in answers always in UTC with milliseconds, in requests with any offset.

**Recipients** are identified by an email address, or by any ID without @ that you choose."""


def document(
    areas: Sequence[Area], url: str, others: Mapping[str, Mapping[str, Schema]] = NOTHING
) -> Schema:
    """Returns the document of these operations, in their order, for the service at a URL.

    `others` are paths that are described by hand, by the areas that they follow.
    """
    operations = [operation for area in areas for operation in area.operations]
    schemas = _Schemas(operations)
    paths: dict[str, Schema] = {}
    for area in areas:
        for operation in area.operations:
            described = _described(operation, area.name, schemas)
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
        paths |= others.get(area.name, NOTHING)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mailwake API",
            "description": DESCRIPTION,
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": url}],
        "tags": [{"name": area.name, "description": area.description} for area in areas],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. Each operation lists the scope that it requires.",
                }
            },
        },
        "security": [{"key": ["read"]}],
    }


class _Schemas:
    """JSON schemas of all bodies and parameters; `components` are those that others refer to."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        contents = [PROBLEM, *(body for op in operations for body in (*op.takes, *op.gives))]
        bodies = list(dict.fromkeys(type_ for content in contents for type_ in content.types))
        parameters = [type_ for type_, _ in PATH.values()]
        queries = list(dict.fromkeys(operation.query for operation in operations))
        template = "#/components/schemas/{name}"
        every = [*bodies, *parameters, *queries]
        schemas, components = msgspec.json.schema_components(every, ref_template=template)
        self._schemas = list(zip(every, schemas, strict=True))
        self._queries: dict[type, Schema] = {
            query: components[str(schema["$ref"]).rpartition("/")[2]]
            for query, schema in self._schemas[-len(queries) :]
        }
        used = msgspec.json.schema_components(bodies, ref_template=template)[1]
        always = _always_whole(bodies)
        self.components = {
            name: _with_defaults(components[name], name in always) for name in sorted(used)
        }

    def of(self, *types: Any) -> Schema:
        """Returns the schema of a body or a parameter."""
        chosen = [
            next(schema for known, schema in self._schemas if known == type_) for type_ in types
        ]
        return chosen[0] if len(chosen) == 1 else {"anyOf": chosen}

    def query(self, type_: type) -> Schema:
        """Returns the schema of an operation's query parameters."""
        return self._queries[type_]


def _always_whole(types: Sequence[Any]) -> set[str]:
    """Returns the names of the types whose JSON has every field, default values included."""
    names, left = set(), list(inspect.multi_type_info(types))
    seen: set[Any] = set()
    while left:
        kind = left.pop()
        match kind:
            case inspect.StructType() | inspect.DataclassType() if kind.cls not in seen:
                seen.add(kind.cls)
                config = getattr(kind.cls, "__struct_config__", None)
                if not config or not (config.omit_defaults or config.forbid_unknown_fields):
                    names.add(kind.cls.__name__)
                left += [field.type for field in kind.fields]
            case inspect.Metadata():
                left.append(kind.type)
            case inspect.UnionType():
                left += kind.types
            case inspect.ListType() | inspect.VarTupleType():
                left.append(kind.item_type)
            case inspect.DictType():
                left.append(kind.value_type)
    return names


def _with_defaults(schema: Schema, whole: bool) -> Schema:
    """Returns an object's schema with `required` fields instead of defaults.

    Some generators make a field with a default one that is always there: that is right for answers
    that are whole, and wrong for requests.
    """
    schema = {**schema, "description": cleandoc(schema.get("description", ""))}
    if whole:
        return {**schema, "required": list(schema["properties"])}
    properties = {}
    for name, field in schema.get("properties", {}).items():
        properties[name] = _without(field, "default")
        if field.get("default") and not isinstance(field["default"], dict):
            known = " ".join([*filter(None, [field.get("description")]), _default(field)])
            properties[name]["description"] = known
    return {**schema, "properties": properties}


def _default(field: Schema) -> str:
    return f"Default: {msgspec.json.encode(field['default']).decode()}."


def _described(operation: Operation[Any], tag: str, schemas: _Schemas) -> Schema:
    summary, _, description = cleandoc(operation.endpoint.__doc__ or "").partition("\n\n")
    example = EXAMPLES[operation.name]
    query = list(_query(schemas.query(operation.query), example.query))
    described: Schema = {
        "summary": " ".join(summary.split()),
        "operationId": operation.name,
        **({"description": description} if description else {}),
        "tags": [tag],
        "parameters": [*_path(operation, schemas), *query],
        "responses": {
            **{
                str(status): _answer(
                    status, operation.headers, operation.gives, example.answer, schemas
                )
                for status in operation.statuses
            },
            **problems(operation.problems),
            **({"431": HEAD_TOO_LARGE} if any("explode" in each for each in query) else {}),
        },
    }
    if operation.scope != "read":
        described["security"] = [{"key": [operation.scope]}]
    if operation.takes:
        media = _media(operation.takes, example.body, schemas)
        described["requestBody"] = {"content": media, "required": True}
    return described


def problems(statuses: Iterable[int]) -> Schema:
    """Returns the answers of errors, by status."""
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            **_headers(ERROR_HEADERS.get(status, {})),
            "content": {
                PROBLEM.media_type: {**reference, "example": shown(PROBLEM, PROBLEMS[status])}
            },
        }
        for status in statuses
    }


def _headers(headers: Mapping[str, str]) -> Schema:
    described = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in headers.items()
    }
    return {"headers": described} if described else {}


def _path(operation: Operation[Any], schemas: _Schemas) -> Iterator[Schema]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        type_, description = PATH[name]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _without(schemas.of(type_), "description"),
            "description": description,
            "example": examples.PATH[name],
        }


def _query(query: Schema, values: Mapping[str, str]) -> Iterator[Schema]:
    for name, field in query["properties"].items():
        # null is no text of a parameter
        kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
        schema = _without(kinds[0], "description", "default", "deprecated")
        if default := field.get("default"):
            schema["default"] = default
        description = kinds[0].get("description", "")
        if schema.get("type") == "object":  # no style of OpenAPI is one that generators share
            schema = {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:"}}
            schema["maxItems"] = kinds[0]["maxProperties"]
            description += f" Each is `KEY:VALUE`; `{name}.KEY=VALUE` is accepted too."
        described: Schema = {
            "name": name,
            "in": "query",
            "required": name in query.get("required", ()),
            "schema": schema,
            "description": description,
        }
        if kinds[0].get("deprecated"):
            described["deprecated"] = True
        if schema.get("type") == "array":
            described |= {"style": "form", "explode": True}
        if name in values:
            described["example"] = _typed(values[name], schema)
        yield described


def _typed(value: str, schema: Schema) -> Any:
    """Returns a parameter's value as its type in JSON."""
    match schema.get("type"):
        case "integer":
            return int(value)
        case "boolean":
            return value == "true"
        case "array":
            return [value]
    return value


def _answer(
    status: int,
    headers: Mapping[str, str],
    contents: Sequence[Content],
    example: Any,
    schemas: _Schemas,
) -> Schema:
    return {
        "description": HTTPStatus(status).phrase,
        **_headers(headers),
        "content": _media(contents, example, schemas),
    }


def _media(contents: Sequence[Content], example: Any, schemas: _Schemas) -> Schema:
    """Returns the media types of a body; the example is of the first."""
    media = {content.media_type: _medium(content, schemas) for content in contents}
    media[contents[0].media_type]["example"] = shown(contents[0], example)
    return media


def _medium(content: Content, schemas: _Schemas) -> Schema:
    of_types = schemas.of(*content.types)
    if content.media_type in (JSON, PROBLEM.media_type):
        return {"schema": of_types}
    schema: Schema = {"type": "string", "contentMediaType": content.media_type}
    if content.media_type in (NDJSON, MAIL):
        schema["format"] = "binary"
    if content.media_type == NDJSON:
        schema["contentSchema"] = {"type": "array", "items": of_types}
    if content.media_type == EVENT_STREAM:
        fields: Schema = {name: {"type": "string"} for name in ("id", "event")}
        data = {"type": "string", "contentMediaType": JSON, "contentSchema": of_types}
        event = {"type": "object", "properties": {**fields, "data": data}}
        schema["contentSchema"] = {"type": "array", "items": event}
    return {"schema": schema}


def shown(content: Content, example: Any) -> Any:
    """Returns an example as the document contains it: a JSON value, or the text of the body."""
    if content.media_type == NDJSON:
        return examples.lines(example)
    if content.media_type == EVENT_STREAM:
        return examples.server_sent(example)
    if content.media_type in (JSON, PROBLEM.media_type):
        return msgspec.json.decode(msgspec.json.encode(example))
    return example


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
