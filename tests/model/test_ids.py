from uuid import RFC_4122, UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.ids import new_id, newsletter_key, recipient_key, sent_at
from app.model.records import now_ms

TIMES = st.integers(0, 2**48 - 1)


@given(TIMES)
def test_an_id_is_a_uuid_of_version_7_and_carries_its_time(at: int) -> None:
    raw = new_id(at)
    uuid = UUID(bytes=raw)
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert sent_at(raw.hex()) == at


@given(TIMES, TIMES)
def test_ids_sort_by_send_time(one: int, other: int) -> None:
    if one != other:
        assert (new_id(one) < new_id(other)) == (one < other)


def test_ids_of_one_moment_differ_and_now_is_the_default() -> None:
    assert len({new_id(1) for _ in range(1000)}) == 1000
    before = now_ms()
    assert before <= sent_at(new_id().hex()) <= now_ms()


def test_keys_are_those_of_stored_data() -> None:
    """Other values would orphan every row that is stored under the old ones."""
    assert newsletter_key("default", "spring") == 12626432906142083581
    assert recipient_key("s", "default", "a@example.com") == 14505976266270342076


@given(st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=30)
def test_keys_have_64_bits_and_tell_workspaces_apart(workspace: str, name: str) -> None:
    key = newsletter_key(workspace, name)
    assert 0 <= key < 2**64
    assert key != newsletter_key(f"{workspace}x", name)
    assert key != recipient_key("", workspace, name)


def test_the_separator_keeps_workspace_and_name_apart() -> None:
    assert newsletter_key("ab", "c") != newsletter_key("a", "bc")
    assert recipient_key("s", "ab", "c") != recipient_key("s", "a", "bc")


@given(st.emails())
@settings(max_examples=20)
def test_a_recipient_is_the_same_in_any_case_and_spacing(address: str) -> None:
    key = recipient_key("secret", "default", address)
    assert key == recipient_key("secret", "default", f"  {address.swapcase()}\n")
    assert key != recipient_key("another", "default", address)


def test_a_secret_of_any_length_is_a_key() -> None:
    """BLAKE2b takes 64 bytes of key at most."""
    assert recipient_key("s" * 64, "w", "a") == recipient_key("s" * 65, "w", "a")
    assert recipient_key("s" * 63, "w", "a") != recipient_key("s" * 64, "w", "a")


def test_an_id_carries_its_time() -> None:
    assert sent_at(new_id(1_780_000_000_000).hex()) == 1_780_000_000_000
