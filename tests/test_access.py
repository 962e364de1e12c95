import pytest

from app import access
from app.access import Access, ThrottledError

KEYS = ["first-key-0123456789", "second-key-0123456789"]


def test_a_login_code_works_once() -> None:
    entry = Access(KEYS, "secret")
    code = entry.new_login_code()
    session = entry.by_code(code)
    assert session is not None and entry.valid(session)
    assert entry.by_code(code) is None
    assert entry.by_code("guess") is None


def test_a_login_code_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Access(KEYS, "secret")
    monkeypatch.setattr(access, "CODE_SECONDS", 0)
    assert entry.by_code(entry.new_login_code()) is None


def test_only_the_password_gives_a_session() -> None:
    entry = Access(KEYS, "sécret")
    assert entry.by_password("secret", "a") is None
    session = entry.by_password("sécret", "a")
    assert session is not None and entry.valid(session)


def test_a_changed_password_or_key_ends_every_session() -> None:
    session = Access(KEYS, "old").by_password("old", "a")
    assert session is not None
    assert Access(["new-key-0123456789", *KEYS], "old").valid(session)
    assert not Access(KEYS, "new").valid(session)
    assert not Access(["another-key-0123456789"], "old").valid(session)
    for forged in ("", "x", session[:-1], session + "x", "é"):
        assert not Access(KEYS, "old").valid(forged)


def test_wrong_passwords_make_an_address_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Access(KEYS, "secret")
    for _ in range(access.FREE_TRIES):
        assert entry.by_password("wrong", "a") is None
    with pytest.raises(ThrottledError) as caught:
        entry.by_password("secret", "a")
    assert 0 < caught.value.seconds <= access.WAIT_SECONDS + 1
    assert entry.by_password("secret", "b")
    monkeypatch.setattr(access, "WAIT_SECONDS", 0)
    assert entry.by_password("secret", "a")


def test_the_memory_of_wrong_passwords_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REMEMBERED", 10)
    entry = Access(KEYS, "secret")
    for number in range(50):
        entry.by_password("wrong", str(number))
    assert len(entry._wrong) == 10
