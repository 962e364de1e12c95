"""Every collection and every text that a client sends in a body has a bound.

Query parameters are part of a request's head, which has a bound as a whole.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from msgspec import Struct, inspect

import app.ops
import app.schemas
import app.web
from app.web.api.app import OPERATIONS

MAXREPEAT = int(re._constants.MAXREPEAT)


def structs(of: type[Struct] = Struct) -> Iterator[type[Struct]]:
    for struct in of.__subclasses__():
        yield struct
        yield from structs(struct)


def received() -> list[type[Struct]]:
    """Returns the Structs of bodies: only what clients send refuses unknown fields."""
    in_body = {type_ for one in OPERATIONS for content in one.takes for type_ in content.types}
    in_head = {one.query for one in OPERATIONS} - in_body
    for package in (app.schemas, app.web, app.ops):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = {
        f"{struct.__module__}.{struct.__qualname__}": struct
        for struct in structs()
        if struct.__module__.startswith(("app.schemas.", "app.web.", "app.ops."))
        and struct.__struct_config__.forbid_unknown_fields
        and struct not in in_head
    }
    return [found[name] for name in sorted(found)]


def unbounded(kind: inspect.Type, path: str) -> Iterator[str]:
    """Yields the paths of the parts of a type that may be of any size."""
    match kind:
        case inspect.Metadata():
            yield from unbounded(kind.type, path)
        case inspect.StrType():
            longest = MAXREPEAT
            if kind.pattern:
                longest = re._parser.parse(kind.pattern).getwidth()[1]
            if kind.max_length is None and longest >= MAXREPEAT:
                yield path
        case inspect.UnionType():
            for part in kind.types:
                yield from unbounded(part, path)
        case inspect.DictType():
            if kind.max_length is None:
                yield f"{path}: keys"
            yield from unbounded(kind.key_type, f"{path}.key")
            yield from unbounded(kind.value_type, f"{path}.value")
        case inspect.VarTupleType() | inspect.ListType() | inspect.SetType():
            if kind.max_length is None:
                yield f"{path}: items"
            yield from unbounded(kind.item_type, f"{path}[]")
        case inspect.AnyType() | inspect.BytesType() | inspect.RawType():
            yield f"{path}: anything"


@pytest.mark.parametrize("struct", received(), ids=lambda struct: struct.__name__)
def test_every_field_of_a_request_has_a_bound(struct: type) -> None:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    paths = [path for field in info.fields for path in unbounded(field.type, field.encode_name)]
    assert paths == []


def test_the_walk_reaches_bodies() -> None:
    names = {struct.__name__ for struct in received()}
    assert {"RewriteIn", "TemplateIn", "WebhookIn", "MessageQuery", "SnapshotRequest"} <= names


def test_a_type_without_a_bound_is_found() -> None:
    class Loose(Struct):
        text: str
        pairs: dict[str, str]
        items: tuple[int, ...]

    info = inspect.type_info(Loose)
    assert isinstance(info, inspect.StructType)
    paths = [path for field in info.fields for path in unbounded(field.type, field.encode_name)]
    assert paths == ["text", "pairs: keys", "pairs.key", "pairs.value", "items: items"]
