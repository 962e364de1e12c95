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

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
# JSON has `state` and `mend` for one more version, as before `status` and `fix`.
OLD_STATES = {"ok": "fine", "warning": "mind", "error": "wrong"}


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
    logging.disable()  # a check that fails is reported as a finding
    failed = False
    for finding in examine(chosen):
        failed |= finding.status == "error"
        if as_json:
            old = {"state": OLD_STATES[finding.status], "mend": finding.fix}
            typer.echo(msgspec.json.encode(msgspec.structs.asdict(finding) | old))
            continue
        status = Text(f"{finding.status:7}", STYLES[finding.status])
        console.print(status + Text(f" {finding.about}: {finding.what}", "default"))
        if finding.fix:
            console.print(Text(f"        {finding.fix}", "dim"))
    if failed:
        raise typer.Exit(1)
