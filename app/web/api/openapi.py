"""The OpenAPI 3.1 document of the API, from its operations and msgspec's JSON schemas."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from app import __version__
from app.schemas.fields import Id, Recipient, SegmentName
from app.schemas.problem import Problem
from app.web.api.operation import Content, Operation

Schema = dict[str, Any]
PROBLEM = Content("application/problem+json", Problem)
# Parameters of paths: their types, and what they are.
PATH: Mapping[str, tuple[Any, str]] = {
    "newsletter_id": (Id, "ID of the newsletter, percent-encoded (a slash is %2F)."),
    "recipient": (Recipient, "The recipient's email address or ID, percent-encoded."),
    "message_id": (str, "ID of the message."),
    "webhook_id": (str, "ID of the webhook."),
    "followup_id": (str, "ID of the follow-up."),
    "erasure_id": (str, "ID of the erasure."),
    "name": (SegmentName, "Name of the saved segment, percent-encoded."),
}


def document(operations: Sequence[Operation[Any]]) -> Schema:
    """Returns the document of these operations, in their order."""
    schemas = _Schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(
            operation, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mailwake",
            "description": "Open and click tracking for outgoing mail.",
            "version": __version__,
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(known.tag for known in operations)],
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
        self.components = {name: components[name] for name in sorted(used)}

    def of(self, *types: Any) -> Schema:
        """Returns the schema of a body or a parameter."""
        chosen = [
            next(schema for known, schema in self._schemas if known == type_) for type_ in types
        ]
        return chosen[0] if len(chosen) == 1 else {"anyOf": chosen}

    def query(self, type_: type) -> Schema:
        """Returns the schema of an operation's query parameters."""
        return self._queries[type_]


def _described(operation: Operation[Any], schemas: _Schemas) -> Schema:
    summary, _, description = inspect.cleandoc(operation.endpoint.__doc__ or "").partition("\n\n")
    described: Schema = {
        "summary": " ".join(summary.split()),
        "operationId": f"{operation.method.lower()}_{operation.path.replace('/', '_')}",
        "description": description,
        "tags": [operation.tag],
        "parameters": [*_path(operation, schemas), *_query(schemas.query(operation.query))],
        "responses": {
            **{
                str(status): _body(status, operation.gives, schemas)
                for status in operation.statuses
            },
            **{str(status): _body(status, [PROBLEM], schemas) for status in operation.problems},
        },
    }
    if operation.scope != "read":
        described["security"] = [{"key": [operation.scope]}]
    if operation.takes:
        described["requestBody"] = {"content": _media(operation.takes, schemas), "required": True}
    return described


def _path(operation: Operation[Any], schemas: _Schemas) -> Iterator[Schema]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        type_, description = PATH[name]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _without(schemas.of(type_), "description"),
            "description": description,
        }


def _query(query: Schema) -> Iterator[Schema]:
    for name, field in query["properties"].items():
        # null is no text of a parameter
        kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
        schema = _without(kinds[0], "description", "default")
        if default := field.get("default"):
            schema["default"] = default
        described: Schema = {
            "name": name,
            "in": "query",
            "required": name in query.get("required", ()),
            "schema": schema,
            "description": kinds[0].get("description", ""),
        }
        if schema.get("type") == "object":
            described |= {"name": f"{name}.KEY", "schema": schema["additionalProperties"]}
        elif schema.get("type") == "array":
            described |= {"style": "form", "explode": True}
        yield described


def _body(status: int, contents: Sequence[Content], schemas: _Schemas) -> Schema:
    return {"description": HTTPStatus(status).phrase, "content": _media(contents, schemas)}


def _media(contents: Sequence[Content], schemas: _Schemas) -> Schema:
    return {content.media_type: {"schema": schemas.of(*content.types)} for content in contents}


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
