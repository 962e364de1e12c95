import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.hosts import host_name, host_of_url


@pytest.mark.parametrize(
    ("field", "host"),
    [
        (b"click.example", b"click.example"),
        (b"Click.EXAMPLE.", b"click.example"),
        (b"click.example:8443", b"click.example"),
        (b"click.example.:8443", b"click.example"),
        (b"click.example:", b"click.example"),
        (b"click.example:x:y", b"click.example"),
        (b"127.0.0.1:8025", b"127.0.0.1"),
        (b"[2001:DB8::1]:8025", b"[2001:db8::1]"),
        (b"[2001:db8::1]", b"[2001:db8::1]"),
        (b"[", b"["),
        (b"", b""),
        (b":80", b":80"),
    ],
)
def test_a_host_has_neither_port_nor_final_dot(field: bytes, host: bytes) -> None:
    assert host_name(field) == host


@given(st.from_regex(r"[a-zA-Z0-9-]{1,20}(\.[a-zA-Z0-9-]{1,20}){0,3}", fullmatch=True))
def test_all_spellings_of_a_host_are_one(host: str) -> None:
    expected = host.lower().encode()
    for field in (host, host.upper(), f"{host}.", f"{host}:65535", f"{host}.:1"):
        assert host_name(field.encode()) == expected
        assert host_of_url(f"https://{field}").encode() == expected


def test_a_url_without_a_host_has_none() -> None:
    assert host_of_url("") == host_of_url("/path") == ""
