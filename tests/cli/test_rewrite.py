import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import __version__
from app.rewriting.links import REASONS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS

HTML = b'<a href="https://example.com/">caf\xe9</a> <a href="#top">up</a>'


def mailwake(folder: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
    return subprocess.run(
        [sys.executable, "-m", "app", *words],
        input=given,
        env={**env, "MAILWAKE_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def test_version_and_help(tmp_path: Path) -> None:
    assert mailwake(tmp_path, "version").stdout.decode().strip() == f"mailwake {__version__}"
    shown = mailwake(tmp_path, "--help").stdout.decode()
    for command in ("serve", "demo", "rewrite", "version"):
        assert command in shown


def test_rewrite_keeps_every_other_byte_and_records_the_message(tmp_path: Path) -> None:
    done = mailwake(tmp_path, "rewrite", "-", "--no-opens", given=HTML)
    assert done.returncode == 0, done.stderr
    before, _, rest = done.stdout.partition(b"http://127.0.0.1:8025/c/")
    after = rest.partition(b'"')[2]
    assert before + b"https://example.com/" + b'"' + after == HTML
    (segment,) = (tmp_path / "data" / "journal").glob("*.seg")
    assert b'"record":"message"' in segment.read_bytes()


def test_a_report_says_why_and_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "mail.html").write_bytes(HTML)
    shown = mailwake(tmp_path, "rewrite", "mail.html", "--report").stdout.decode()
    assert "fragment" in shown and "caf\u00e9" in shown
    told = mailwake(tmp_path, "rewrite", "mail.html", "--report", "--json").stdout
    links = json.loads(told)["links"]
    assert [(link["tracked"], link["reason"]) for link in links] == [
        (True, None),
        (False, "fragment"),
    ]
    assert not list((tmp_path / "data" / "journal").glob("*"))


@pytest.mark.parametrize("codec", ["shift_jis", "iso2022_jp", "utf-16", "cp1251"])
def test_json_has_the_text_of_any_charset(tmp_path: Path, codec: str) -> None:
    word = "Привет" if codec == "cp1251" else "日本表"
    label = {"cp1251": "windows-1251", "iso2022_jp": "iso-2022-jp"}.get(codec, codec)
    html = f'<meta charset={label}><p>{word}<a href="http://x.example/">x</a>'
    (tmp_path / "mail.html").write_bytes(html.encode(codec))
    answer = json.loads(mailwake(tmp_path, "rewrite", "mail.html", "--json").stdout)
    assert answer["html"].lstrip("\ufeff").startswith(f"<meta charset={label}><p>{word}<a href=")
    assert "/c/" in answer["html"] and "\ufffd" not in answer["html"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rewrite", "missing.html"], "missing.html: No such file"),
        (["rewrite", "-", "--newsletter", ""], "newsletter.id"),
        (["serve", "--port", "99999"], "MAILWAKE_PORT"),
        (["serve", "--asn-file", "missing.mmdb"], "MAILWAKE_ASN_FILE"),
        (["serve", "--country-file", "broken.mmdb"], "broken.mmdb"),
        (
            ["load", "--clickhouse-dsn", "clickhouse://h", "--asn-file", "broken.mmdb"],
            "broken.mmdb",
        ),
    ],
)
def test_bad_input_is_named_and_ends_with_2(tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "broken.mmdb").write_text("no database")
    done = mailwake(tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_every_reason_is_documented() -> None:
    text = (ROOT / "docs" / "rewriting.md").read_text()
    for reason in REASONS:
        assert f"| `{reason}` |" in text
