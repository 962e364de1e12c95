"""What is recorded of a newsletter's links is bounded, and every click is still counted right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.links import identity
from app.messages import link_signer
from app.messages.link_signer import KnownLinks, LinkRules, LinkSigner
from app.rewriting.links import Link
from app.tracking.tokens import Tokens

TOKENS = Tokens(["secret"])


def link(url: str, index: int = 0, label: str = "", tags: tuple[str, ...] = ()) -> Link:
    return Link(index, url, url, None, label, tags, 0, False)


def signed(known: KnownLinks, newsletter: int, *links: Link) -> LinkSigner:
    signer = LinkSigner(TOKENS, known, newsletter, LinkRules())
    for one in links:
        signer(one)
    known.remember(list(known.new(signer.records)))
    return signer


def test_a_token_says_what_the_link_is() -> None:
    signer = LinkSigner(TOKENS, KnownLinks(), 5, LinkRules())
    signer.first = 3
    target = "https://shop.example/boots"
    token = TOKENS.read_link(signer(link(target, 2, "Boots", ("boots",))))
    found = identity.identify(target)
    assert (token.newsletter, token.position, token.url) == (5, 5, target)
    assert (token.link, token.detail) == (found.link, identity.detail("Boots", ("boots",)))
    (record,) = signer.records
    assert (record.link, record.position, record.label) == (found.link, 5, "Boots")
    assert signer.carried == (found.link,)


def test_a_link_at_two_places_is_carried_once() -> None:
    signer = signed(KnownLinks(), 1, link("https://x.example/a"), link("https://x.example/a", 1))
    assert len(signer.carried) == 1
    assert [record.position for record in signer.records] == [0, 1]


def test_what_is_known_is_not_recorded_again() -> None:
    known = KnownLinks()
    mail = [link("https://x.example/a", 0, "A"), link("https://x.example/b", 1)]
    assert len(list(known.new(signed(known, 1, *mail).records))) == 0
    assert len(list(known.new(signed(known, 2, *mail).records))) == 0  # remembered by `signed`
    again = LinkSigner(TOKENS, known, 1, LinkRules())
    again(link("https://x.example/a", 0, "Another label"))
    assert len(list(known.new(again.records))) == 1


def test_personal_links_become_their_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_signer, "FAMILY_LINKS", 8)
    known = KnownLinks()
    carried: dict[int, int] = {}
    recorded = set()
    for n in range(100):
        signer = signed(known, 1, link(f"https://x.example/parcel/{1000 + n}"))
        recorded |= {record.link for record in signer.records}
        for key in signer.carried:
            carried[key] = carried.get(key, 0) + 1
    family = identity.identify("https://x.example/parcel/1").family
    assert carried[family] == 100
    assert len(recorded) == 9 and family in recorded


def test_a_newsletter_of_many_links_counts_the_rest_by_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_signer, "NEWSLETTER_LINKS", 10)
    known = KnownLinks()
    words = [f"{a}{b}" for a in "bcdfghjk" for b in "aeiou"]
    keys = set()
    for word in words:
        keys |= set(signed(known, 1, link(f"https://x.example/{word}")).carried)
    assert len(keys) == 11
    assert identity.host_family("https://x.example/").link in keys
    assert signed(known, 1, link(f"https://x.example/{words[0]}")).carried == (
        identity.identify(f"https://x.example/{words[0]}").link,
    )


def test_labels_that_differ_by_recipient_are_dropped_after_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_signer, "DETAILS", 4)
    known = KnownLinks()
    labels = set()
    for n in range(20):
        one = link("https://x.example/account", 0, f"Hello number {n}", ("account",))
        labels |= {record.label for record in signed(known, 1, one).records}
        assert all(record.tags == ("account",) for record in signed(known, 1, one).records)
    assert len(labels) == 5 and "" in labels


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=200))
def test_memory_is_bounded_and_forgetting_is_harmless(mails: list[tuple[int, int]]) -> None:
    known = KnownLinks()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(link_signer, "MAX_REMEMBERED", 20)
        for newsletter, n in mails:
            signer = signed(known, newsletter, link(f"https://x.example/p/{n}"))
            assert identity.identify(f"https://x.example/p/{n}").family in signer.carried
            assert known._places <= 20 or len(known._newsletters) == 1
