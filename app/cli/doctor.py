"""`mailwake doctor`."""

import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from app.cli.common import console, fail, option
from app.settings.load import (
    load,
)
from app.settings.settings import SettingsError

SIGNS = {"fine": ("fine ", "green"), "mind": ("mind ", "yellow"), "wrong": ("wrong", "bold red")}


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object per line.")
    ] = False,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Check settings, data folder, ClickHouse and the running service. Changes nothing.

    Exits with 1 if there are errors, and with 0 if there are only warnings.
    """
    from app.ops.doctor.checks import examine  # noqa: PLC0415  (chDB loads slowly)

    try:
        chosen = load(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    except SettingsError as error:
        raise fail(str(error)) from None
    logging.disable()  # what breaks is told as a finding
    wrong = False
    for finding in examine(chosen):
        wrong |= finding.state == "wrong"
        if as_json:
            typer.echo(msgspec.json.encode(finding))
            continue
        sign, style = SIGNS[finding.state]
        console.print(Text(sign, style) + Text(f" {finding.about}: {finding.what}", "default"))
        if finding.mend:
            console.print(Text(f"      {finding.mend}", "dim"))
    if wrong:
        raise typer.Exit(1)
