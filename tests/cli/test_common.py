"""What the commands share."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.main import cli

COMMANDS = [("erase", "--yes"), ("export-subject",), ("consent", "show"), ("consent", "withdraw")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("wrong", ["Ann <ann@example.com>", "ann@", "a@example.com, b@example.com"])
def test_a_recipient_is_checked(tmp_path: Path, words: tuple[str, ...], wrong: str) -> None:
    env = {"MAILWAKE_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    result = CliRunner().invoke(cli, [*words, wrong], env=env)
    assert result.exit_code == 2 and "must be an email address such as" in result.output
    assert not list(tmp_path.iterdir())  # nothing was opened or created
