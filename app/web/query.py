"""Query parameters: read, checked and described by a msgspec type whose fields they are.

Unknown parameters are refused: a filter with a typo would otherwise return everything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, inspect
from starlette.datastructures import QueryParams

from app.model.errors import FieldError, explain
from app.model.numbers import parse_int

Q = TypeVar("Q")
MAX_INT = 2**53  # JSON's numbers are exact up to here (RFC 8259, section 6)
MAX_NAME_CHARS = 100  # of a parameter, as an error names it
YES, NO = ("1", "true", "yes"), ("0", "false", "no")


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""


def read_query(query: QueryParams, type_: type[Q]) -> Q:
    """Returns the parameters as a msgspec Struct. Raises FieldError.

    A field with a tuple takes a repeated parameter, one with a dict takes `field=KEY:VALUE` or
    `field.KEY=VALUE`, repeated with other keys; any other parameter is given once, or again with
    the same value.
    """
    fields = _fields(type_)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name in query:
        own, dot, key = name.partition(".")
        texts = query.getlist(name)
        if dot and isinstance(fields.get(own), inspect.DictType):
            _add_entry(values, type_, own, name, key, _once(name, texts))
        elif isinstance(fields.get(name), inspect.DictType):
            for text in texts:
                key, colon, value = text.partition(":")
                if not colon:
                    raise FieldError(name, "must be KEY:VALUE")
                _add_entry(values, type_, name, f"{name}.{key}", key, value)
        elif name not in fields:
            raise FieldError(name[:MAX_NAME_CHARS], _unknown(fields))
        elif isinstance(kind := fields[name], inspect.VarTupleType):
            values[name] = [_value(text, name, kind.item_type) for text in texts]
        else:
            values[name] = _value(_once(name, texts), name, kind)
    for name in _required(type_):  # type: ignore[arg-type]
        if name not in values:
            raise FieldError(name, "is required")
    try:
        return msgspec.convert(values, type_)
    except msgspec.ValidationError as error:
        message, name = explain(error)
        raise FieldError(name.partition("[")[0], message) from None


@cache
def _fields(type_: type) -> Mapping[str, inspect.Type]:
    """Returns the parameters' types, without descriptions and null."""
    return {field.encode_name: _plain(field.type) for field in _info(type_).fields}


@cache
def _required(type_: type) -> Sequence[str]:
    return [field.encode_name for field in _info(type_).fields if field.required]


def _info(type_: type) -> inspect.StructType:
    info = inspect.type_info(type_)
    assert isinstance(info, inspect.StructType)  # noqa: S101
    return info


def _plain(type_: inspect.Type) -> inspect.Type:
    """Returns a type without its description, and of a union with null the other type."""
    if isinstance(type_, inspect.Metadata):
        return _plain(type_.type)
    if isinstance(type_, inspect.UnionType):
        others = [option for option in type_.types if not isinstance(option, inspect.NoneType)]
        return _plain(others[0]) if len(others) == 1 else type_
    return type_


def _once(name: str, texts: list[str]) -> str:
    if len(set(texts)) > 1:
        raise FieldError(name[:MAX_NAME_CHARS], "must not be repeated")
    return texts[0]


def _add_entry(
    values: dict[str, Any], type_: type, field: str, name: str, key: str, value: str
) -> None:
    """Add one entry of a dict. It is checked alone, so that the error names its key."""
    entries: dict[str, str] = values.setdefault(field, {})
    entries[key] = _once(name, [value, *([entries[key]] if key in entries else [])])
    kind = next(f for f in msgspec.structs.fields(type_) if f.encode_name == field).type
    try:
        msgspec.convert({key: value}, kind)
    except msgspec.ValidationError as error:
        raise FieldError(name[:MAX_NAME_CHARS], explain(error)[0]) from None


def _unknown(fields: Mapping[str, inspect.Type]) -> str:
    parameters = f"its parameters are {', '.join(fields)}" if fields else "it has no parameters"
    return f"is not a parameter of this endpoint: {parameters}"


def _value(text: str, name: str, type_: inspect.Type) -> object:
    """Returns a parameter's value; msgspec checks those that stay text. Raises FieldError."""
    match _plain(type_):
        case inspect.IntType(ge=low, le=high):
            return parse_int(text, name, low or 0, MAX_INT if high is None else high)
        case inspect.BoolType():
            if text.lower() not in YES + NO:
                raise FieldError(name, "must be 1, true or yes, or 0, false or no")
            return text.lower() in YES
        case inspect.DateTimeType():
            return parse_time(text, name)
        case inspect.LiteralType(values=values):
            if text not in values:
                raise FieldError(name, f"must be one of {', '.join(map(str, values))}")
    return text


def parse_time(text: str, name: str) -> datetime:
    """Returns a time as RFC 3339 writes it. Raises FieldError."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a bare + in a query is a space
    except ValueError:
        raise FieldError(name, "must be a time such as 2026-11-24T08:00:00Z") from None
    if not 1970 <= at.year <= 2200:
        raise FieldError(name, "must lie between 1970 and 2200")
    return at
