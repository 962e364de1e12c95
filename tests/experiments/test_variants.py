"""Variants: a name has one number for good; every way to name one reaches events and files."""

import json
import multiprocessing
import smtplib
from pathlib import Path
from urllib.parse import quote

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.experiments.variants import MAX_VARIANTS, VariantError, Variants
from app.model.ids import newsletter_key
from app.schemas.fields import VariantName
from app.storage.state_db import open_state
from mailwake_client import LineError, Mailwake, MailwakeError
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import follow
from tests.support.service import Service, free_port
from tests.support.smtp_server import inbox

MAIL = '<body><a href="https://example.com/boots">Boots</a>'
NAMES = [f"name {n}" for n in range(40)]


def register(folder: Path, names: list[str]) -> dict[str, int]:
    """What one process makes of names, in its own order."""
    variants = Variants(open_state(folder))
    return {name: variants.number(7, name) for name in names}


def test_processes_that_race_give_each_number_one_name(tmp_path: Path) -> None:
    open_state(tmp_path)
    orders = [NAMES, NAMES[::-1], NAMES[20:] + NAMES[:20], NAMES[1::2] + NAMES[::2]]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(register, [(tmp_path, order) for order in orders])
    assert all(one == found[0] for one in found)
    assert len(set(found[0].values())) == len(NAMES)
    assert all(1 <= number <= MAX_VARIANTS for number in found[0].values())
    again = Variants(open_state(tmp_path))
    assert dict(again.names(7)) == {number: name for name, number in found[0].items()}


def test_names_are_of_one_newsletter_and_one_workspace(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    here, there = Variants(state), Variants(state, "acme")
    number = here.number(2**64 - 1, "B")
    assert here.find(2**64 - 1, "B") == number
    assert here.find(8, "B") is here.find(2**64 - 1, "b") is there.find(2**64 - 1, "B") is None
    assert here.name(2**64 - 1, number) == "B"
    assert here.name(2**64 - 1, 0) == ""
    assert there.name(2**64 - 1, number) == str(number)


def test_a_newsletter_has_as_many_as_a_byte_holds(tmp_path: Path) -> None:
    variants = Variants(open_state(tmp_path))
    numbers = {variants.number(7, f"{n}") for n in range(MAX_VARIANTS)}
    assert numbers == set(range(1, MAX_VARIANTS + 1))
    with pytest.raises(VariantError, match="255 variants"):
        variants.number(7, "one more")
    assert variants.number(7, "0") in numbers and variants.number(8, "one more")


def test_two_hosts_mostly_agree(tmp_path: Path) -> None:
    """A name's number is its own hash where nobody has that, whatever the order."""
    one, other = (Variants(open_state(tmp_path / host)) for host in "ab")
    assert [one.number(7, name) for name in ("A", "B", "C")] == [
        other.number(7, name) for name in ("C", "B", "A")
    ][::-1]


@given(st.text(max_size=60))
def test_a_name_has_visible_ends_and_no_control_characters(text: str) -> None:
    try:
        msgspec.convert(text, VariantName)
    except msgspec.ValidationError:
        control = any(ord(c) < 32 or ord(c) == 127 for c in text)
        assert control or text.strip() != text or not 1 <= len(text) <= 50 or text == "-"
    else:
        assert 1 <= len(text) <= 50 and text != "-" and "\n" not in text
        assert text[0] != " " and text[-1] != " "


def events(service: Service, newsletter: str) -> list[dict[str, str]]:
    answer = service.client.get("/v1/events", params={"newsletter": newsletter})
    return [json.loads(line) for line in answer.text.splitlines()]


def page(service: Service, path: str, **filters: str) -> str:
    """What the dashboard shows."""
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as visitor:
        service.login(visitor)
        answer = visitor.get(path, params=filters)
        assert answer.status_code == 200, answer.text
        return answer.text


def exported(service: Service, newsletter: str, form: str, **filters: str) -> str:
    """The file that the dashboard makes."""
    return page(service, f"/newsletters/{newsletter}/export", **{"format": form, **filters})


def test_one_message_is_of_the_variant_that_it_names(service: Service, client: Mailwake) -> None:
    for number, name in enumerate(("B", "Grün & =1", "B")):
        answer = client.rewrite("v-api", f"{number}@example.com", MAIL, variant=name)
        assert (answer.variant, answer.holdout) == (name, False)
        follow(service, answer.html)
    plain = client.rewrite("v-api", "none@example.com", MAIL)
    assert plain.variant is None
    follow(service, plain.html)
    service.drained()
    found = sorted(event.get("variant", "") for event in events(service, "v-api"))
    assert found == ["", "", *["B"] * 4, *["Grün & =1"] * 2]
    lines = [json.loads(line) for line in exported(service, "v-api", "json").splitlines()]
    assert sorted(line["variant"] for line in lines) == found
    of_b = exported(service, "v-api", "json", variant="B").splitlines()
    assert len(of_b) == 4
    assert len(exported(service, "v-api", "json", variant="-").splitlines()) == 2
    assert "Grün & =1" in exported(service, "v-api", "csv")


def test_a_dry_run_names_nothing(service: Service, client: Mailwake) -> None:
    answer = client.rewrite("v-dry", "a@example.com", MAIL, variant="B", dry_run=True)
    assert answer.variant == "B"
    assert not Variants(open_state(service.data_dir)).names(newsletter("v-dry"))


def newsletter(name: str) -> int:
    return newsletter_key("default", name)


@pytest.mark.parametrize("name", ["", "x" * 51, " B", "B\n", "-", "\x7f"])
def test_what_is_no_name_is_refused(service: Service, client: Mailwake, name: str) -> None:
    with pytest.raises(MailwakeError) as raised:
        client.rewrite("v-bad", "a@example.com", MAIL, variant=name)
    assert (raised.value.problem.status, raised.value.problem.field) == (422, "variant")
    for path in ("/v1/rewrite/mime", "/v1/newsletters/v-bad/template"):
        body = (
            b"X-Mailwake-Newsletter: v-bad\r\nTo: a@example.com\r\n\r\n"
            if "mime" in path
            else b"{}"
        )
        answer = service.client.post(path, params={"variant": name}, content=body)
        assert (answer.status_code, answer.json()["field"]) == (422, "variant"), path
    line = json.dumps({"recipient": "a@example.com", "variant": name})
    service.client.post("/v1/newsletters/v-bad/template", json={"html": MAIL})
    answer = service.client.post("/v1/newsletters/v-bad/messages", content=line)
    assert (answer.json()["status"], answer.json()["field"]) == (422, "variant")


def test_whole_messages_name_it_in_the_query_or_a_field(service: Service) -> None:
    head = "X-Mailwake-Newsletter: v-mime\r\nTo: a@example.com\r\nContent-Type: text/html\r\n"
    field = "X-Mailwake-Variant: =?utf-8?q?Gr=C3=BCn?=\r\n"
    for query, fields, name in (
        ({}, field, "Grün"),
        ({"variant": "B 1"}, field, "B 1"),
        ({"variant": "B 1"}, "", "B 1"),
        ({}, "", None),
    ):
        message = f"{head}{fields}\r\n{MAIL}".encode()
        answer = service.client.post("/v1/rewrite/mime", params=query, content=message)
        assert answer.status_code == 200, answer.text
        assert "X-Mailwake" not in answer.text
        found = answer.headers.get("x-mailwake-variant")
        assert found == (quote(name) if name else None)
        report = service.client.post(
            "/v1/rewrite/mime", params={**query, "dry_run": "1"}, content=message
        ).json()
        assert (report["variant"], report["holdout"]) == (name, False)
    answer = service.client.post("/v1/rewrite/mime", content=f"{head}X-Mailwake-Variant: -\r\n\r\n")
    assert (answer.status_code, answer.json()["field"]) == (422, "X-Mailwake-Variant")


def test_a_variant_has_a_template_of_its_own(service: Service, client: Mailwake) -> None:
    assert client.keep_template("v-many", f"{MAIL}<p>plain", name="Many").variant is None
    assert client.keep_template("v-many", f"{MAIL}<p>of B", variant="B").variant == "B"
    pairs: list[str | tuple[str, str]] = [("b@example.com", "B"), ("c@example.com", "C")]
    b, c, none = client.messages("v-many", [*pairs, "n@example.com"])
    for answer, name, words in ((b, "B", "of B"), (c, "C", "plain"), (none, None, "plain")):
        assert not isinstance(answer, LineError), answer
        assert (answer.variant, words in answer.html) == (name, True)
        follow(service, answer.html)
    client.keep_template("v-many", f"{MAIL}<p>of B anew", variant="B")
    (again,) = client.messages("v-many", [("b@example.com", "B")])
    assert not isinstance(again, LineError) and "anew" in again.html
    service.drained()
    assert "of B anew" in page(service, "/newsletters/v-many/clickmap/mail", variant="B")
    assert "of B anew" in page(service, "/newsletters/v-many/clickmap/mail")  # the latest kept
    client.keep_template("v-many", f"{MAIL}<p>plain", name="Many")
    for others in ({"variant": "C"}, {"variant": "-"}, {}):
        assert "plain" in page(service, "/newsletters/v-many/clickmap/mail", **others)
    shown = page(service, "/newsletters/v-many")
    for name, value in (("B", "B"), ("C", "C"), ("No variant", "-")):
        assert f'href="/newsletters/v-many?variant={value}">{name}</a>' in shown
    assert sorted(event.get("variant", "") for event in events(service, "v-many")) == [
        "",
        "",
        "B",
        "B",
        "C",
        "C",
    ]


def test_without_a_template_for_it_a_line_is_refused_alone(client: Mailwake) -> None:
    client.keep_template("v-only", MAIL, variant="B")
    none, b = client.messages("v-only", ["a@example.com", ("b@example.com", "B")])
    assert isinstance(none, LineError)
    assert (none.status, none.field) == (422, "variant") and "no template" in none.error
    assert not isinstance(b, LineError) and b.variant == "B"


def test_numbers_filter_as_before_and_nonsense_is_named(service: Service, client: Mailwake) -> None:
    follow(service, client.rewrite("v-num", "a@example.com", MAIL, variant="B").html)
    service.drained()
    (number,) = Variants(open_state(service.data_dir)).names(newsletter("v-num"))
    assert len(exported(service, "v-num", "json", variant=str(number)).splitlines()) == 2
    assert exported(service, "v-num", "json", variant=str(number % 255 + 1)) == ""
    with pytest.raises(AssertionError, match="is not a variant of this newsletter"):
        exported(service, "v-num", "json", variant="C")
    with pytest.raises(AssertionError, match="is not a variant of this newsletter"):
        exported(service, "v-num", "json", variant="256")


def test_by_smtp_a_field_or_a_rule_names_it(tmp_path: Path) -> None:
    rules = tmp_path / "streams.toml"
    rules.write_text('[[stream]]\nsender = "b@*"\nnewsletter = "v-smtp"\nvariant = "B"\n')
    port = free_port()
    with inbox() as box:
        env = {
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
            "MAILWAKE_SMTP_STREAMS": str(rules),
        }
        with Service(tmp_path / "data", **env) as service:
            service.ready()
            plan = {"variants": [{"variant": "A"}, {"variant": "B"}], "decide_after_messages": 100}
            path = "/v1/newsletters/v-smtp/experiment"
            assert service.client.post(path, json={**plan, "holdout": 0.9}).status_code == 200
            own = "X-Mailwake-Newsletter: v-smtp\r\n"
            for number, (sender, head) in enumerate(
                (
                    ("b@shop.example", ""),
                    ("x@shop.example", f"{own}X-Mailwake-Variant: C\r\n"),
                    ("x@shop.example", own),
                )
            ):
                to = f"{number}@example.com"
                mail = f"From: {sender}\r\nTo: {to}\r\n{head}Content-Type: text/html\r\n\r\n{MAIL}"
                with smtplib.SMTP("127.0.0.1", port) as client:
                    assert client.sendmail(sender, [to], mail.encode()) == {}
                assert b"X-Mailwake" not in box.to(to)
                follow(service, box.to(to).decode())
            service.drained()
            found = [event.get("variant") for event in events(service, "v-smtp")]
            # The experiment splits nothing that comes by SMTP.
            assert sorted(map(str, found)) == ["B", "B", "C", "C", "None", "None"]
            assert service.stats("v-smtp")["messages"] == 3
            document = service.get("/v1/recipients/1@example.com/export")
            assert [row["variant"] for row in document["messages"]] == ["C"]
            assert {row["variant"] for row in document["hits"]} == {"C"}
            document = service.get("/v1/recipients/2@example.com/export")
            assert [row["variant"] for row in document["messages"]] == [None]
