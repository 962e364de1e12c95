"""What holds for every operation of the table: parameters, errors, and the OpenAPI document."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import pytest

from app.web.api.app import OPERATIONS, openapi
from app.web.api.operation import Operation
from tests.support.service import Service

UNKNOWN = {
    "newsletter_id": "no/such newsletter",
    "recipient": "nobody@example.com",
    "message_id": "0" * 32,
    "webhook_id": "wh_none",
    "followup_id": "fu_none",
    "erasure_id": "123456789",
    "name": "nope",
}
# What is asked for by name and created, or answered with nothing, where it does not exist.
CREATING = {
    ("POST", "/v1/newsletters/{newsletter_id}/template"),
    ("POST", "/v1/newsletters/{newsletter_id}/experiment"),
    ("PUT", "/v1/saved-segments/{name}"),
    ("GET", "/v1/recipients/{recipient}/export"),
}


def rows(operations: Iterable[Operation[Any]]) -> list[Any]:
    return [pytest.param(one, id=f"{one.method} {one.path}") for one in operations]


ROWS = rows(OPERATIONS)
ASKING = rows(
    one for one in OPERATIONS if "{" in one.path and (one.method, one.path) not in CREATING
)


def url(operation: Operation[Any]) -> str:
    """The path with what does not exist in it."""
    return re.sub(r"\{(\w+)\}", lambda name: quote(UNKNOWN[name[1]], safe=""), operation.path)


def names(operation: Operation[Any]) -> list[str]:
    return re.findall(r"\{(\w+)\}", operation.path)


@pytest.mark.parametrize("operation", ROWS)
def test_an_unknown_parameter_is_refused(service: Service, operation: Operation[Any]) -> None:
    answer = service.client.request(operation.method, f"{url(operation)}?form=1")
    assert (answer.status_code, answer.json()["field"]) == (422, "form"), answer.text
    assert "is not a parameter of this endpoint" in answer.json()["detail"]


@pytest.mark.parametrize("operation", ASKING)
def test_what_does_not_exist_is_named(service: Service, operation: Operation[Any]) -> None:
    (name,) = names(operation)
    body: object = {"recipients": []} if operation.takes else None
    answer = service.client.request(operation.method, url(operation), json=body)
    assert answer.status_code == 404, answer.text
    problem = answer.json()
    assert problem["field"] == name
    assert UNKNOWN[name] in problem["detail"]


def test_a_snapshot_has_no_parameters(service: Service) -> None:
    answer = service.client.post("/v1/snapshot?form=1", json={"folder": "backup-1"})
    assert (answer.status_code, answer.json()["field"]) == (422, "form")


def test_an_unknown_recipient_is_named_by_the_email_address(service: Service) -> None:
    answer = service.client.post("/v1/recipients/lookup", json={"recipient": "nobody@example.com"})
    by_url = service.client.get("/v1/recipients/nobody@example.com")
    assert by_url.json() == answer.json()
    assert (answer.status_code, answer.json()) == (
        404,
        {
            "title": "Not found",
            "status": 404,
            "detail": "No messages were sent to nobody@example.com.",
            "field": "recipient",
        },
    )


@pytest.mark.parametrize("wrong", ["a" * 513, " ", "\ta", "a\x7f"])
def test_a_recipient_is_checked_alike_everywhere(service: Service, wrong: str) -> None:
    encoded = quote(wrong, safe="")
    call = service.client.request
    answers = [
        call("GET", f"/v1/recipients/{encoded}"),
        call("GET", f"/v1/recipients/{encoded}/export"),
        call("GET", f"/v1/messages?recipient={encoded}"),
        call("GET", f"/v1/suppressions/check?recipient={encoded}"),
        call("GET", f"/v1/consent?recipient={encoded}"),
        *(
            call("POST", f"/v1/{path}", json={"recipient": wrong})
            for path in (
                "recipients/lookup",
                "recipients/export",
                "messages/search",
                "suppressions/check",
                "consent/lookup",
            )
        ),
        call("POST", "/v1/suppressions", json={"recipient": wrong}),
        call("POST", "/v1/consent", json={"recipient": wrong}),
        call("POST", "/v1/erasures", json={"recipient": wrong}),
    ]
    assert {answer.status_code for answer in answers} == {422}
    assert len({(answer.json()["field"], answer.json()["detail"]) for answer in answers}) == 1


@pytest.mark.parametrize("operation", ROWS)
def test_the_table_and_the_endpoint_agree(operation: Operation[Any]) -> None:
    assert operation.endpoint.__doc__
    assert get_args(get_type_hints(operation.endpoint)["call"]) == (operation.query,)


def test_unknown_fields_of_bodies_are_refused_too() -> None:
    for operation in OPERATIONS:
        for content in operation.takes:
            for type_ in content.types:
                assert type_ is str or type_.__struct_config__.forbid_unknown_fields, type_


def references(value: object) -> Iterator[str]:
    """Every $ref within."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def test_the_document_is_whole() -> None:
    document = json.loads(json.dumps(openapi()))
    schemas = document["components"]["schemas"]
    referred = {one.removeprefix("#/components/schemas/") for one in references(document)}
    assert referred == set(schemas)  # nothing is missing and nothing is unused
    assert not [name for name in schemas if not re.fullmatch(r"\w+", name)]  # two of one name
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(set(ids)) == len(ids) == len(OPERATIONS) + 1  # that of mail providers


@pytest.mark.parametrize("operation", ROWS)
def test_every_parameter_is_described(operation: Operation[Any]) -> None:
    described = openapi()["paths"][operation.path][operation.method.lower()]
    assert described["summary"].endswith(".") and len(described["tags"]) == 1
    for parameter in described["parameters"]:
        assert parameter["description"], parameter["name"]
        schema = parameter["schema"]
        assert schema.get("type") or "enum" in schema, parameter["name"]
        assert schema.get("type") != "array" or schema["maxItems"], parameter["name"]
        value = schema.get("items", schema)
        bounds = {"enum", "pattern", "maxLength", "maximum", "format"} & set(value)
        assert bounds or value["type"] == "boolean", parameter["name"]
    assert "422" in described["responses"]
    by_body = operation.path == "/v1/recipients/lookup"  # which names the recipient
    assert ("404" in described["responses"]) == (bool(names(operation)) or by_body)


def test_bounds_and_defaults_of_parameters_are_in_the_document() -> None:
    listed = openapi()["paths"]["/v1/newsletters"]["get"]["parameters"]
    limit = next(parameter for parameter in listed if parameter["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert limit["required"] is False
    found = openapi()["paths"]["/v1/messages"]["get"]["parameters"]
    assert [parameter["name"] for parameter in found] == [
        "metadata",
        "message_id",
        "rfc_message_id",
        "recipient",
        "newsletter_id",
        "limit",
        "after",
    ]
    assert all("null" not in str(parameter["schema"]) for parameter in found)
