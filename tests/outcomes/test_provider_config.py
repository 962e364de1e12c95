from pathlib import Path

import pytest

from app.outcomes.provider_config import from_file
from app.settings.settings import SettingsError
from tests.support.provider_samples import TOPIC, config


def test_a_file_has_a_key_or_topics_for_each(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.toml"
    path.write_text(config("shop"))
    providers = {provider.name: provider for provider in from_file(path)}
    assert set(providers) == {"ses", "sendgrid", "mailgun", "resend", "postal"}
    assert {provider.workspace for provider in providers.values()} == {"shop"}
    assert providers["ses"].topics == {TOPIC} and providers["ses"].verify is None
    assert all(provider.verify for name, provider in providers.items() if name != "ses")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("provider = 5", "provider"),
        ('[[provider]]\nname = "fax"', "name"),
        ('[[provider]]\nname = "mailgun"', "key is required for mailgun"),
        ('[[provider]]\nname = "mailgun"\nkey = "x"', "provider 1: key must have"),
        ('[[provider]]\nname = "ses"', "topics are required"),
        ('[[provider]]\nname = "ses"\ntopics = ["x"]', "topics"),
        ('[[provider]]\nname = "ses"\nkey = "x"\ntopics = ["arn:aws:sns:a:1:b"]', "no key"),
        ('[[provider]]\nname = "sendgrid"\nkey = "!"\n', "public key"),
        ('[[provider]]\nname = "mailgun"\nkey = "0123456789"\nsecret = "x"', "secret"),
    ],
)
def test_an_error_names_the_setting_and_the_entry(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "outcomes.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="MAILWAKE_OUTCOMES_FILE") as error:
        from_file(path)
    assert names in str(error.value)
