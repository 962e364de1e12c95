"""Excluded domains: by the setting and per newsletter, on every way in."""

import smtplib
from pathlib import Path
from typing import Any

import pytest

from app.settings.load import load
from app.settings.settings import SettingsError
from tests.support.service import Service, free_port
from tests.support.smtp_server import inbox

LINKS = (
    "https://bank.example/account",  # by the setting
    "https://www.bank.example/account",
    "https://bücher.example/",  # by the newsletter, in another spelling
    "https://notbank.example/",
)
HTML = "".join(f'<a href="{url}">x{n}</a>' for n, url in enumerate(LINKS))
TRACKED = [False, False, False, True]
MAIL = (
    "From: a@shop.example\r\nTo: b@example.com\r\nSubject: x\r\n{more}"
    "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + HTML + "\r\n"
)
STREAMS = """
[[stream]]
sender = "*@shop.example"
newsletter = "rules"
excluded_domains = ["xn--bcher-kva.example"]
"""


def reasons(links: list[dict[str, Any]]) -> list[bool]:
    for link in links:
        assert link["tracked"] or link["reason"] == "excluded_domain", link
    return [link["tracked"] for link in links]


def test_on_every_way_in(tmp_path: Path) -> None:
    streams = tmp_path / "streams.toml"
    streams.write_text(STREAMS)
    with inbox() as smarthost:
        env = {
            "MAILWAKE_EXCLUDED_DOMAINS": "Bank.Example., *.other.example",
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{(port := free_port())}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{smarthost.port}",
            "MAILWAKE_SMTP_STREAMS": str(streams),
            "MAILWAKE_SMTP_NETWORKS": "127.0.0.0/8",
        }
        with Service(tmp_path / "data", **env) as service:
            service.ready()
            named = {"id": "n", "excluded_domains": ["Bücher.example"]}
            assert reasons(service.rewrite(named, HTML)["links"]) == TRACKED
            plain = service.rewrite("n", HTML)["links"]  # the setting alone
            assert reasons(plain) == [False, False, True, True]
            template = {"html": HTML, "excluded_domains": ["bücher.example"]}
            answer = service.client.post("/v1/newsletters/n/template", json=template)
            assert reasons(answer.json()["links"]) == TRACKED
            head = (
                "X-Mailwake-Newsletter: n\r\nX-Mailwake-Excluded-Domains: xn--bcher-kva.example\r\n"
            )
            raw = MAIL.format(more=head).encode()
            mime = {"content-type": "message/rfc822"}
            report = service.client.post(
                "/v1/rewrite/mime?dry_run=1", content=raw, headers=mime
            ).json()
            assert reasons(report["links"]) == TRACKED
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("a@shop.example", ["b@example.com"], raw)
                client.sendmail("a@shop.example", ["b@example.com"], MAIL.format(more="").encode())
            assert len(smarthost.mails) == 2
            for mail in smarthost.raw:
                content = mail.decode()
                assert content.count("/c/") == 1, content
                assert "https://bank.example/account" in content
                assert "X-Mailwake" not in content
            wrong = {"id": "n", "excluded_domains": ["https://bank.example/"]}
            body = {"newsletter": wrong, "recipient": "a@example.com", "html": HTML}
            refused = service.client.post("/v1/rewrite", json=body)
            assert refused.status_code == 422
            assert refused.json()["field"] == "newsletter.excluded_domains"
            assert "domain name" in refused.json()["detail"]


@pytest.mark.parametrize("name", ["https://x.example", "x.example/path", "x y", "a:80", "-", "*."])
def test_a_setting_that_is_no_domain_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"MAILWAKE_EXCLUDED_DOMAINS.*domain name"):
        load(excluded_domains=f"ok.example,{name}")


def test_too_many_are_refused() -> None:
    with pytest.raises(SettingsError, match="MAILWAKE_EXCLUDED_DOMAINS"):
        load(excluded_domains=",".join(f"x{n}.example" for n in range(1001)))
