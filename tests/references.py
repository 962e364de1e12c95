"""`make reference`: the pages of docs/reference that say what the code says.

tests/test_references.py holds that what is committed is what this would write.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import typer.main
from prometheus_client.parser import text_string_to_metric_families
from typer.core import TyperArgument, TyperGroup, TyperOption

from app.cli.main import cli
from app.events import feed, followups
from app.model.verdicts import (
    HUMAN,
    MACHINE,
)
from app.schemas import webhooks
from app.schemas.events import (
    Due,
    EventOut,
)
from app.schemas.followups import (
    FollowUpIn,
)
from app.server.process import with_public_url
from app.server.service import Mailwake
from app.settings.load import load, with_secrets
from app.web.api import app, docs
from tests.support.paths import ROOT

OUT = ROOT / "docs" / "reference"
MADE = "<!-- Written by `make reference`: change the code, not this page. -->"


def pages() -> Mapping[str, str]:
    """Each page's text by its name."""
    made = {"api": _api(), "cli": _cli(), "metrics": _metrics(), "events": _events()}
    return {f"{name}.md": "\n".join([MADE, "", *lines]) + "\n" for name, lines in made.items()}


def main() -> None:
    """Write them."""
    OUT.mkdir(exist_ok=True)
    for name, text in pages().items():
        (OUT / name).write_text(text)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown; cells are in one line each."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _linked(model: str) -> str:
    return f"[{model}](#{model.lower()})" if model else ""


def _fields(fields: Iterable[docs.Field], heading: str = "Field") -> Iterator[str]:
    rows = [
        (
            f"`{field.name}`",
            _linked(field.model) if field.kind == field.model else field.kind,
            "required" if field.required else "",
            field.description,
        )
        for field in fields
    ]
    width = 4 if any(row[3] for row in rows) else 3
    if rows:
        yield from _table((heading, "What it is", "", "")[:width], (row[:width] for row in rows))


def _models(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield from (f"### {name}", "")
        if said := schema.get("description", ""):
            yield from (" ".join(said.split()), "")
        yield from _fields(docs.fields(schema))


def _api() -> Iterator[str]:
    document = app.openapi()
    yield from (
        "# API",
        "",
        "Every request carries `Authorization: Bearer KEY`. Bodies are JSON unless something else",
        "is said; what is refused comes as `application/problem+json` ([Problem](#problem)) and",
        "names the field. A running service has the same at `/docs`, and as OpenAPI 3.1 at",
        "`/openapi.json`.",
        "",
    )
    found = sorted(docs.operations(document), key=lambda one: one.path)
    for area, operations in groupby(found, lambda one: one.path.split("/")[2]):
        group = list(operations)
        yield from (f"## {area}", "")
        rows = [
            (
                f"`{one.method} {one.path}`",
                one.summary,
                _linked(one.takes),
                _linked(one.gives),
                ", ".join(one.errors),
            )
            for one in group
        ]
        yield from _table(("", "What it does", "Takes", "Gives", "Refusals"), rows)
        for operation in group:
            if operation.parameters:
                yield from (f"Parameters of `{operation.method} {operation.path}`:", "")
                yield from _fields(operation.parameters, "Parameter")
    yield from ("## Models", "")
    yield from _models(document["components"]["schemas"])


def _cli() -> Iterator[str]:
    group = typer.main.get_command(cli)
    assert isinstance(group, TyperGroup)
    yield from ("# Commands", "", f"{group.help} `mailwake --help` says the same.", "")
    yield from _commands(group, "mailwake")


def _commands(group: TyperGroup, name: str) -> Iterator[str]:
    for each, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{name} {each}")
            continue
        arguments = [p for p in command.params if isinstance(p, TyperArgument)]
        shown = " ".join((name, each, *(_argument(one) for one in arguments)))
        yield from (f"## {shown}", "", *(command.help or "").split("\n"), "")
        rows = [
            (", ".join(f"`{flag}`" for flag in (*one.opts, *one.secondary_opts)), one.help or "")
            for one in command.params
            if isinstance(one, TyperOption) and not one.hidden
        ]
        rows[:0] = [(f"`{_argument(one)}`", one.help or "") for one in arguments]
        if rows:
            yield from _table(("", "What it is"), rows)


def _argument(argument: TyperArgument) -> str:
    return (argument.name or "").upper()


def _metrics() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        chosen = with_public_url(with_secrets(load(data_dir=Path(folder))))
        text = Mailwake(chosen).health.text().decode()
    yield from (
        "# Metrics",
        "",
        "What `GET /metrics` gives to Prometheus, for whoever has an API key. What each tells, and",
        "what is worth an alarm: [Running Mailwake](../operations.md). Python's own `process_*`",
        "stand beside them.",
        "",
    )
    rows = []
    for family in text_string_to_metric_families(text):
        if family.name.startswith("mailwake_") and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append((f"`{name}`", family.type, family.documentation))
    yield from _table(("Metric", "Type", "What it is"), sorted(rows))


def _events() -> Iterator[str]:
    yield from (
        "# Events and webhooks",
        "",
        "How they are asked for, and what is promised of them: [Acting at once](../acting.md).",
        "",
        "## Types",
        "",
        *(f"- `{one}`" for one in (*feed.TYPES, followups.TYPE, "webhook.test")),
        "",
        "## Verdicts",
        "",
        f"- people (`human`): {', '.join(f'`{one}`' for one in HUMAN)}",
        f"- machines (`machine`): {', '.join(f'`{one}`' for one in MACHINE)}",
        "",
        "What each means: [How Mailwake counts](../counting.md).",
        "",
        "## A request to a webhook",
        "",
        "`POST`, with a body of `type`, `timestamp` and `data`; `data` is one of the models.",
        "Signed as [Standard Webhooks](https://www.standardwebhooks.com) says:",
        "",
        *_table(
            ("Header", "What it is"),
            (
                ("`webhook-id`", "The event's id; the same whenever it is sent again."),
                ("`webhook-timestamp`", "Seconds since 1970 UTC."),
                (
                    "`webhook-signature`",
                    "`v1,` and HMAC-SHA-256 of id, timestamp and body in base64.",
                ),
            ),
        ),
        "## Models",
        "",
    )
    kinds = (EventOut, Due, webhooks.WebhookIn, FollowUpIn)
    _, schemas = msgspec.json.schema_components(kinds)
    yield from _models(schemas)


if __name__ == "__main__":
    main()
