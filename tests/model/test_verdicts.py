import re
from collections.abc import Iterable
from typing import get_args

import pytest

from app.model.verdicts import HUMAN, MACHINE, UNKNOWABLE, Verdict
from app.paths import resource

PARTS = resource("clickhouse") / "queries"
MIGRATIONS = resource("clickhouse") / "migrations"


def listed(verdicts: Iterable[Verdict]) -> str:
    return "(" + ", ".join(f"'{verdict}'" for verdict in verdicts) + ")"


def test_every_verdict_is_a_persons_or_a_machines() -> None:
    assert sorted((*HUMAN, *MACHINE)) == sorted(get_args(Verdict))


@pytest.mark.parametrize(
    ("part", "condition"),
    [
        ("people", f"(verdict IN {listed(HUMAN)})"),
        ("unknowable", f"(kind = 'open' AND verdict IN {listed(UNKNOWABLE)})"),
    ],
)
def test_queries_have_the_same_groups(part: str, condition: str) -> None:
    text = (PARTS / f"{part}.part").read_text()
    assert re.sub(r"--.*\n", "", text).strip() == condition


def test_roll_ups_have_the_same_groups() -> None:
    """Of each view the latest definition counts."""
    views: dict[str, str] = {}
    for path in sorted(MIGRATIONS.glob("*.sql")):
        for statement in path.read_text().split(";"):
            for name in re.findall(r"DROP VIEW IF EXISTS (\w+)", statement):
                views.pop(name, None)
            for name in re.findall(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)", statement):
                views[name] = statement
    counted = {name: text for name, text in views.items() if " AS human" in text}
    assert len(counted) >= 3
    for name, text in counted.items():
        assert f"sumIf(sign, verdict IN {listed(HUMAN)}) AS human" in text, name
        assert f"sumIf(sign, verdict NOT IN {listed(HUMAN)}) AS machine" in text, name
    expected = f"sumIf(sign, kind = 'open' AND verdict IN {listed(UNKNOWABLE)}) AS unknowable"
    assert expected in views["hits_to_message"]


def test_queries_name_no_group_themselves() -> None:
    for path in PARTS.glob("*.sql"):
        assert "'privacy_proxy'" not in path.read_text(), path.name
