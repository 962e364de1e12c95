"""Compares the roll-ups with hits and messages, and finds what they lack or have too much of.

A roll-up is a sum over hits or messages, so its difference from them can be written to it like any
other row. Fingerprints find out cheaply whether there is one: the sum of a hash of each key times
its value is the same for equal contents however they are grouped, and needs no memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.storage.clickhouse import Row, Storage

PEOPLE = "(verdict IN ('human', 'privacy_proxy'))"
UNKNOWABLE = "(kind = 'open' AND verdict IN ('unknown', 'prefetch'))"
# What the views of the migrations select, a row for each hit or message.
_MINUTES = """
SELECT
    workspace, newsletter, toStartOfMinute(at) AS minute, kind, verdict, sign AS hits, at AS last_at
FROM hits WHERE {here}
"""
_MESSAGES = """
SELECT
    workspace, newsletter, kind, message, variant,
    if({people}, sign, 0) AS human, if({people}, 0, sign) AS machine,
    if({unknowable}, sign, 0) AS unknowable
FROM hits WHERE {here}
"""
_CLICKS = """
SELECT
    workspace, newsletter, its_key AS link_key, position, message,
    bitAnd(bitShiftRight(toUInt128(message), 76), 15) = 8 AS shared,
    if({people}, sign, 0) AS human, if({people}, 0, sign) AS machine
FROM
(
    SELECT *, arrayJoin(arrayDistinct([link_key, family])) AS its_key
    FROM hits WHERE kind = 'click' AND {here}
)
"""
_AGENTS = """
SELECT workspace, newsletter, kind, verdict, client, os, device, country, sign AS hits
FROM hits WHERE {here}
"""
_NEWSLETTERS = """
SELECT
    workspace, newsletter, sign AS hits,
    sign * toInt64(cityHash64(kind, message)) * multiIf(
        {people}, toInt64(1),
        {unknowable}, -7046029254386353131 + -4417276706812531889,
        -7046029254386353131) AS checksum,
    at AS last_at
FROM hits WHERE {here}
"""
_SENT = """
SELECT workspace, newsletter, variant, flags, 1 AS messages, at AS first_at, at AS last_at
FROM messages WHERE {here}
"""
_HERE = "workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}"
_BY_MINUTE = "toUnixTimestamp(minute) * 1000 >= {from_ms:Int64}"
# A message's id begins with its time; one that all messages of a day share begins with the day.
_BY_MESSAGE = "toUInt64(bitShiftRight(toUInt128(message), 80)) >= {from_ms:Int64}"
# Rows without a time: all hits of the newsletter must be stored.
_BY_NEWSLETTER = """
{from_ms:Int64} = 0 OR newsletter NOT IN (
    SELECT newsletter FROM hits_by_minute
    WHERE {here} AND toUnixTimestamp(minute) * 1000 < {from_ms:Int64}
)
"""
_FINGERPRINTS = """
SELECT newsletter, sum(fingerprint) AS difference
FROM
(
    SELECT newsletter, sum({fingerprint}) AS fingerprint
    FROM ({source}) WHERE {covered} GROUP BY newsletter
    UNION ALL
    SELECT newsletter, -sum({fingerprint}) AS fingerprint
    FROM {table} WHERE {here} AND ({covered}) GROUP BY newsletter
)
GROUP BY newsletter HAVING difference != 0
"""
# Messages may be many: groups that are too large for memory go to the disk.
_DIFFERENCES = """
SELECT {keys}, {differences}
FROM
(
    SELECT {keys}, {added}, true AS stored FROM ({source}) WHERE {covered}
    UNION ALL
    SELECT {keys}, {subtracted}, false AS stored FROM {table} WHERE {here} AND ({covered})
)
GROUP BY {keys} HAVING {differs}
LIMIT {limit:UInt64}
SETTINGS max_bytes_before_external_group_by = 500000000
"""


class RollUp(NamedTuple):
    """A roll-up: `source` selects what its view does, one row for each hit or message.

    `values` are summed by `keys`; `others` are further columns, each with the function whose
    result over the source is written. `covered` limits both sides to
    what is stored of the source.
    """

    table: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    source: str
    covered: str
    others: Mapping[str, str] = {}


class Differences(NamedTuple):
    """Rows that would make a roll-up equal to the hits, and of how many hits they are."""

    rows: list[Row]
    missing: int
    extra: int


ROLL_UPS = (
    RollUp(
        "hits_by_minute",
        ("minute", "kind", "verdict"),
        ("hits",),
        _MINUTES,
        _BY_MINUTE,
        {"last_at": "max"},
    ),
    RollUp(
        "hits_by_message",
        ("kind", "message"),
        ("human", "machine", "unknowable"),
        _MESSAGES,
        _BY_MESSAGE,
        {"variant": "max"},
    ),
    RollUp(
        "clicks_by_link",
        ("link_key", "message"),
        ("human", "machine"),
        _CLICKS,
        _BY_MESSAGE,
        {"shared": "max"},
    ),
    RollUp(
        "clicks_by_place",
        ("link_key", "position", "message"),
        ("human", "machine"),
        _CLICKS,
        _BY_MESSAGE,
        {"shared": "max"},
    ),
    RollUp(
        "hits_by_agent",
        ("kind", "verdict", "client", "os", "device", "country"),
        ("hits",),
        _AGENTS,
        _BY_NEWSLETTER,
    ),
    RollUp(
        "hits_by_newsletter",
        ("newsletter",),
        ("hits", "checksum"),
        _NEWSLETTERS,
        _BY_NEWSLETTER,
        {"last_at": "max"},
    ),
    RollUp(
        "messages_by_newsletter",
        ("variant", "flags"),
        ("messages",),
        _SENT,
        "true",
        {"first_at": "min", "last_at": "max"},
    ),
)
# Values that are no numbers of hits: a share of the others, and a sum of hashes.
_UNCOUNTED = ("unknowable", "checksum")


def differing(
    storage: Storage, roll_up: RollUp, workspace: str, newsletters: Sequence[int], from_ms: int
) -> dict[int, int]:
    """Returns the newsletters whose roll-up is not equal to their hits, with a number for how.

    Only what came from `from_ms` on is compared: earlier hits have expired. The number is the same
    for equal differences. Raises StorageError.
    """
    them = {"workspace": workspace, "newsletters": list(newsletters), "from_ms": from_ms}
    keys = ", ".join(roll_up.keys)
    fingerprint = " + ".join(
        f"toInt64(cityHash64({keys}, '{value}')) * toInt64({value})" for value in roll_up.values
    )
    rows = storage.query(_filled(_FINGERPRINTS, roll_up, fingerprint=fingerprint), them)
    return {int(row["newsletter"]): int(row["difference"]) for row in rows}


def differences(
    storage: Storage, roll_up: RollUp, workspace: str, newsletter: int, from_ms: int, limit: int
) -> Differences:
    """Returns up to `limit` rows that a newsletter's roll-up lacks. Raises StorageError."""
    values, others = roll_up.values, roll_up.others
    text = _filled(
        _DIFFERENCES,
        roll_up,
        keys=", ".join(roll_up.keys),
        differences=", ".join(
            [
                *(f"sum({value}_of_one) AS {value}_more" for value in values),
                *(f"{name}If({other}, stored) AS {other}_stored" for other, name in others.items()),
            ]
        ),
        added=", ".join([*(f"toInt64({value}) AS {value}_of_one" for value in values), *others]),
        subtracted=", ".join(
            [*(f"-toInt64({value}) AS {value}_of_one" for value in values), *others]
        ),
        differs=" OR ".join(f"{value}_more != 0" for value in values),
    )
    them = {"workspace": workspace, "newsletters": [newsletter], "from_ms": from_ms}
    rows, missing, extra = [], 0, 0
    for row in storage.query(text, {**them, "limit": limit}):
        more = {value: int(row[f"{value}_more"]) for value in values}
        counts = [n for value, n in more.items() if value not in _UNCOUNTED]
        missing += sum(n for n in counts if n > 0)
        extra -= sum(n for n in counts if n < 0)
        rows.append(
            {
                "workspace": workspace,
                "newsletter": newsletter,
                **{key: _as_inserted(row[key]) for key in roll_up.keys},
                **more,
                **{other: _as_inserted(row[f"{other}_stored"]) for other in others},
            }
        )
    return Differences(rows, missing, extra)


def _filled(text: str, roll_up: RollUp, **parts: str) -> str:
    """Returns a query with the names in braces replaced; parameters have a type and stay."""
    parts |= {"source": roll_up.source, "covered": roll_up.covered, "table": roll_up.table}
    for names in (parts, {"here": _HERE, "people": PEOPLE, "unknowable": UNKNOWABLE}):
        for name, part in names.items():
            text = text.replace(f"{{{name}}}", part)
    return text


def _as_inserted(value: Any) -> Any:
    """Returns a value as JSON has it for an insert: times in seconds since 1970 UTC."""
    return value.timestamp() if hasattr(value, "timestamp") else value
