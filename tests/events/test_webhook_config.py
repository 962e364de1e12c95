import base64
from pathlib import Path
from typing import Any

import pytest

from app.events.event_filter import EventFilter
from app.events.webhook_config import EVENT_TYPES, VERDICTS, filters_of, from_file, valid
from app.model.errors import FieldError
from app.schemas.webhooks import WebhookIn
from app.settings.settings import SettingsError

URL = "https://hooks.example/x"


def secret(size: int) -> str:
    return f"whsec_{base64.b64encode(bytes(size)).decode()}"


def test_every_event_type_verdict_and_secret_of_the_standard_is_valid() -> None:
    valid(WebhookIn(URL), http=False)
    valid(WebhookIn(URL, types=EVENT_TYPES, verdicts=VERDICTS, secret=secret(24)), http=False)
    valid(WebhookIn(URL, secret=secret(64)), http=False)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (WebhookIn("ftp://hooks.example"), "url"),
        (WebhookIn("http://hooks.example"), "url"),
        (WebhookIn("https://user:pw@hooks.example"), "url"),
        (WebhookIn(URL, types=("message.opened", "opened")), "types"),
        (WebhookIn(URL, verdicts=("robot",)), "verdicts"),
        (WebhookIn(URL, secret=secret(23)), "secret"),
        (WebhookIn(URL, secret=secret(65)), "secret"),
        (WebhookIn(URL, secret=secret(32).removeprefix("whsec_")), "secret"),
        (WebhookIn(URL, secret="whsec_" + "é" * 40), "secret"),
        (WebhookIn(URL, secret=secret(32) + "*"), "secret"),
    ],
)
def test_the_wrong_field_is_named(wanted: WebhookIn, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        valid(wanted, http=False)
    assert caught.value.field == field


def test_http_is_accepted_where_the_operator_says_so(tmp_path: Path) -> None:
    valid(WebhookIn("http://hooks.example"), http=True)
    file = tmp_path / "hooks.toml"
    file.write_text(f'[[webhook]]\nname = "a"\nurl = "http://10.0.0.7/"\nsecret = "{secret(32)}"\n')
    assert from_file(file)["a"][0] == "http://10.0.0.7/"


def test_a_filter_has_every_field_of_the_webhook() -> None:
    names = EventFilter.__struct_fields__
    values: dict[str, Any] = {name: (f"{name} 1", f"{name} 2") for name in names}
    assert filters_of(WebhookIn(URL, **values)) == EventFilter(**values)


def test_a_file_gives_webhooks_by_name(tmp_path: Path) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text("")
    assert from_file(file) == {}
    head = f'[[webhook]]\nurl = "{URL}"\nsecret = "{secret(32)}"\n'
    file.write_text(f'{head}name = "a"\nfirst = true\n{head}name = "b-2_C"\ntags = ["x"]\n')
    assert from_file(file) == {
        "a": (URL, EventFilter(), True, secret(32), None),
        "b-2_C": (URL, EventFilter(tags=("x",)), False, secret(32), None),
    }
    file.write_text(f'{head}name = "a"\nwhen = "immediate"\n')
    assert from_file(file)["a"][-1] == "immediate"


def test_the_first_event_is_a_settled_one() -> None:
    valid(WebhookIn(URL, first=True, when="settled"), http=False)
    with pytest.raises(FieldError) as caught:
        valid(WebhookIn(URL, first=True, when="immediate"), http=False)
    assert caught.value.field == "when"


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hooks.toml"
    file.write_bytes(b'[[webhook]]\nname = "\xff"\n')
    with pytest.raises(SettingsError, match=r"MAILWAKE_WEBHOOKS_FILE: .*hooks\.toml"):
        from_file(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"MAILWAKE_WEBHOOKS_FILE: .*none\.toml"):
        from_file(tmp_path / "none.toml")


FILE = """
[[webhook]]
name = "shop"
url = "{url}"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
newsletters = ["filed"]
types = ["message.{type}"]
"""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[webhook", "hooks.toml: "),
        ('[[webhook]]\nname = "a b"\nurl = "x"', "webhook[0].name"),
        (FILE.format(url="ftp://x", type="opened"), "webhook 1: url must be an http"),
        (FILE.format(url="https://a.example", type="read"), "webhook 1: types must be one of"),
        (FILE.format(url="https://a.example", type="opened") * 2, "webhook 2: name 'shop'"),
        ('[[webhook]]\nname = "a"\nurl = "https://a.example"', "webhook 1: secret is required"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="MAILWAKE_WEBHOOKS_FILE") as caught:
        from_file(file)
    assert says in str(caught.value)
