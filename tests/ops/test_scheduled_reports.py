"""Reports: one document that says what page and API say, mailed when it is due and not twice."""

import asyncio
import socket
import uuid
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli.main import cli
from app.demo import agents
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Message, Newsletter, PlacedLink, encode, now_ms
from app.ops.scheduled_reports import Every, ReportMailer, SendError, boundary, send
from app.settings.load import load
from app.settings.settings import Settings
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from app.web.views import report
from tests.support.service import Service, paths, tracked_urls
from tests.support.smtp_server import Inbox, inbox

NAME = 'weekly "<b>news'
KEY = newsletter_key("default", NAME)
SENT = now_ms() - 3_600_000


@pytest.fixture(scope="module")
def queries(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Queries:
    folder = tmp_path_factory.mktemp("reports")
    records: list[Hit | PlacedLink | Message | Newsletter] = [
        Newsletter(SENT, "default", KEY, NAME, "News <script>", "Hello"),
        PlacedLink(SENT, "default", KEY, 0, "https://example.com/", "Boots & <i>tents"),
    ]
    for n in range(10):
        at = SENT if n else SENT - 40 * 86_400_000  # one long ago
        message = new_id(at).hex()
        records.append(Message(at, "default", KEY, message, n, f"{n}@example.com"))
        given_: dict[str, Any] = {"user_agent": agents.CHROME, "address": f"192.0.2.{n}"}
        records.append(Hit("open", at + 90_000, "default", KEY, message, n, **given_))
        if n % 2:
            url = "https://example.com/"
            records.append(Hit("click", at + 99_000, "default", KEY, message, n, 0, url, **given_))
    (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage).load_all()
    return Queries(storage)


def test_a_report_tells_the_figures_of_its_period(queries: Queries) -> None:
    for period, sent, opened in (("all", 10, 10), ("7d", 9, 9)):
        filters = Filters.read({"period": period})
        page = report.figures(queries, NAME, filters)
        stats = queries.stats(NAME, filters.hit_filters)
        assert (stats.messages, stats.opens.human.unique) == (sent, opened)
        text = report.text(page, "https://example.com/live")
        assert f"Sent          {sent}\n" in text and f"Opened        {opened} (" in text
        assert "       5  Boots & <i>tents" in text
        html = report.html(page, "https://example.com/live")
        assert f">{sent}</span>" in html
        assert "News &lt;script&gt;" in html and "<script" not in html
        assert "Boots &amp; &lt;i&gt;tents" in html
        assert "src=" not in html and "url(" not in html  # nothing is loaded


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    every=st.sampled_from(["day", "week", "month"]),
    hour=st.integers(0, 23),
)
def test_the_boundary_is_the_latest_due_moment(now: datetime, every: Every, hour: int) -> None:
    at = boundary(now, every, hour)
    most = {"day": 1, "week": 7, "month": 31}[every]
    assert at <= now < at + timedelta(days=most)
    assert (at.hour, at.minute, at.second) == (hour, 0, 0)
    assert every != "week" or at.weekday() == 0
    assert every != "month" or at.day == 1
    assert boundary(at, every, hour) == at
    assert boundary(at - timedelta(seconds=1), every, hour) < at


def chosen(folder: Path, box: Inbox, **more: Any) -> Settings:
    return load(
        data_dir=folder,
        smarthost=f"smtp://user:p%40ss+of+the+smarthost@127.0.0.1:{box.port}",
        report_to="ann@example.com,bob@example.com",
        report_from="wake@example.com",
        report_newsletters=(NAME,),
        report_every="day",
        report_hour=0,
        public_url="https://click.example.com",
        **more,
    )


def test_what_is_due_is_mailed_once_whatever_restarts(queries: Queries, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    tomorrow = now + timedelta(days=1)

    def due(at: datetime) -> int:
        return asyncio.run(ReportMailer(chosen(tmp_path, box), queries).due(at))

    with inbox(auth=True) as box:
        assert due(now) == 0  # the first comes at the next boundary
        box.answers = ["451 later", "554 never"]
        assert due(tomorrow) == 0 and not box.mails
        box.answers = []
        assert due(tomorrow) == 1
        assert due(tomorrow) == due(tomorrow + timedelta(seconds=1)) == 0
        (mail,) = box.mails
        assert box.logins[0] == ("user", "p@ss+of+the+smarthost")
        assert mail["to"] == "ann@example.com, bob@example.com"
        assert mail["subject"] == "News <script>: report for 24 hours"
        assert mail["message-id"].endswith("@example.com>")
        body = mail.get_body(("html",))
        assert body is not None
        html = body.get_content()
        assert "https://click.example.com/newsletters/weekly" in html
        plain = mail.get_body(("plain",))
        assert plain is not None and "Sent          9" in plain.get_content()
        box.answers = ["554 never"]
        assert due(tomorrow + timedelta(days=1)) == 0  # refused for good: the next day's comes
        assert due(tomorrow + timedelta(days=1)) == 0


def test_a_server_that_is_away_is_tried_again(queries: Queries, tmp_path: Path) -> None:
    box = Inbox()
    reports = ReportMailer(chosen(tmp_path, box), queries)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert asyncio.run(reports.due(datetime.now(UTC))) == 0
    assert asyncio.run(reports.due(tomorrow)) == 0
    with inbox() as there:
        again = load(
            data_dir=tmp_path,
            smarthost=f"smtp://127.0.0.1:{there.port}",
            report_to="a@b.example",
            report_from="c@d.example",
            report_newsletters=(NAME, "unknown"),
            report_every="day",
            report_hour=0,
        )
        assert asyncio.run(ReportMailer(again, queries).due(tomorrow)) == 1
        assert len(there.mails) == 1


def test_a_password_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    with inbox(auth=True) as box:
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
        )
        mail = report.message_of("<p>x", "s", "x", "a@b.example", "c@d.example", "k")
        url = f"smtp://user:not-to-be-sent-in-the-clear@smtp.example:{box.port}"
        with pytest.raises(SendError, match="STARTTLS"):
            asyncio.run(send(mail, load(smarthost=url)))
        assert (box.logins, box.mails) == ([], [])
        asyncio.run(send(mail, load(smarthost=f"smtp://smtp.example:{box.port}")))
        assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"smarthost": "http://x"}, "SMARTHOST: must be smtp"),
        ({"report_to": "nobody"}, "REPORT_TO: 'nobody' is not an email address"),
        ({"report_to": "a@b.example"}, "REPORT_TO: MAILWAKE_SMARTHOST"),
    ],
)
def test_settings_are_checked(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    env = {f"MAILWAKE_{name.upper()}": value for name, value in settings.items()}
    env |= {"MAILWAKE_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    result = CliRunner().invoke(cli, ["report", "x"], env=env)
    assert result.exit_code == 2 and says in result.output


def test_the_command_checks_email_addresses(tmp_path: Path) -> None:
    env = {"MAILWAKE_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    env |= {"MAILWAKE_SMARTHOST": "smtp://127.0.0.1", "MAILWAKE_REPORT_FROM": "a@b.example"}
    result = CliRunner().invoke(cli, ["report", "x", "--to", "Ann <ann@b.example>"], env=env)
    assert result.exit_code == 2
    assert "--to: 'Ann <ann@b.example>' is not an email address" in result.output


def test_the_command_asks_the_running_service(service: Service, tmp_path: Path) -> None:
    answer = service.rewrite({"id": "reported", "name": "Reported"}, '<a href="https://a.example">')
    service.client.get(
        paths(tracked_urls(answer["html"]))[0], headers={"user-agent": agents.CHROME}
    )
    service.drained()
    env = {**service.env, "MAILWAKE_PORT": str(service.port)}
    run = CliRunner().invoke
    out = tmp_path / "report.html"
    result = run(cli, ["report", "reported", "--period", "7d", "--out", str(out)], env=env)
    assert result.exit_code == 0, result.output
    assert "<h1" in out.read_text() and "Reported" in out.read_text()
    assert "Messages sent in the last 7 days" in out.read_text()
    assert run(cli, ["report", "reported"], env=env).output.startswith("<!doctype html>")
    for arguments, says in (
        (["report", "none-such"], "there is no newsletter"),
        (["report", "reported", "--period", "2d"], "--period: must be one of"),
        (["report", "reported", "--to", "a@example.com"], "MAILWAKE_SMARTHOST"),
    ):
        result = run(cli, arguments, env=env)
        assert result.exit_code == 2 and says in result.output, result.output
    with inbox() as box:
        env |= {"MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}"}
        env |= {"MAILWAKE_REPORT_FROM": "wake@example.com"}
        result = run(cli, ["report", "reported", "--to", "a@example.com"], env=env)
        assert result.exit_code == 0, result.output
        assert box.mails[0]["to"] == "a@example.com"
        box.answers = ["554 no thanks"]
        result = run(cli, ["report", "reported", "--to", "a@example.com"], env=env)
        assert result.exit_code == 2 and "554 no thanks" in result.output


@given(st.text(max_size=100))
def test_a_newsletters_name_adds_no_field(name: str) -> None:
    mail = report.message_of("<p>x</p>", name, name, "a@example.com", "b@example.com", "key")
    read = message_from_bytes(bytes(mail), policy=policy.default)
    plain = report.message_of("<p>x</p>", "x", "x", "a@example.com", "b@example.com", "key")
    assert read.keys() == plain.keys()
    assert "".join(str(read["Subject"]).split()) == "".join(name.split())
