"""aiosmtpd's private names: used in one module, and there in the version that is locked."""

import re

import pytest
from aiosmtpd.smtp import SMTP

from tests.support.paths import ROOT

PRIVATE = (
    "_call_handler_hook",
    "_create_envelope",
    "_getaddr",
    "_reset_timeout",
)


@pytest.mark.parametrize("name", PRIVATE)
def test_aiosmtpd_has_the_private_methods_that_the_protocol_uses(name: str) -> None:
    assert callable(getattr(SMTP, name))


def test_the_protocol_uses_no_other_private_name() -> None:
    source = (ROOT / "app" / "smtp" / "protocol.py").read_text()
    own = set(re.findall(r"def (_\w+)|self\.(_\w+)[:=, ]", source))
    used = set(re.findall(r"(?:self|super\(\))\.(_\w+)", source))
    defined = {name for pair in own for name in pair if name}
    assert used - defined <= {*PRIVATE, "_reader", "_content", "_on_closed", "_stranger_until"}
    assert set(PRIVATE) <= used | defined


def test_no_other_module_uses_private_names_of_aiosmtpd() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        if "aiosmtpd" in (source := path.read_text()) and path.name != "protocol.py":
            assert not re.search(r"\bserver\._", source), path.name


def test_the_version_is_pinned() -> None:
    assert '"aiosmtpd==1.4.6"' in (ROOT / "pyproject.toml").read_text()
