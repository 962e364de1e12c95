import re

import pytest

from app.paths import resource
from app.storage.sql import sql

NAMES = sorted(path.stem for path in (resource("clickhouse") / "queries").glob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_put_in_and_only_parameters_stay_in_braces(name: str) -> None:
    text = sql(name)
    assert text.strip()
    # A parameter has a type, {name:Type}; the clause of a cluster is put in by whoever runs it.
    assert set(re.findall(r"\{\w+\}", text)) <= {"{cluster}"}


def test_a_missing_query_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        sql("none")
