"""Each rule over the hits of a message fires at its threshold and not just below it."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.demo import agents
from app.ingest.classifier import Classification, classify
from app.ingest.message_rules import (
    CONTEXT_MS,
    MESSAGE_RULES,
    MessageHits,
    burst,
    classify_message,
    companion,
    fetched_before,
    sweep,
)
from app.ingest.networks import Network, Networks
from app.model.ids import new_id
from app.model.records import Hit
from app.model.verdicts import HUMAN, MACHINE

SENT = 1_780_000_000_000
MESSAGE = new_id(SENT).hex()
HOME, OFFICE, CLOUD, NEXT_DOOR = "198.51.100.7", "203.0.113.9", "192.0.2.1", "192.0.2.99"


def hit(
    at: float, link: int = -1, address: str = HOME, agent: str = agents.CHROME, **more: str
) -> Hit:
    given: dict[str, Any] = {"kind": "open" if link < 0 else "click", **more}
    return Hit(
        at=SENT + round(at * 1000),
        workspace="default",
        newsletter=1,
        message=MESSAGE,
        recipient=7,
        position=link,
        address=address,
        user_agent=agent,
        **given,
    )


def verdicts(*hits: Hit) -> list[str]:
    return [found.verdict for found in classify_message(hits)]


def judged(*hits: Hit, links: int = 0, https: bool = False) -> MessageHits:
    in_order = sorted(hits, key=lambda one: one.at)
    return MessageHits([(one, classify(one, https=https)) for one in in_order], links)


def clicks(*times: float, **more: str) -> list[Hit]:
    """On a link of its own each."""
    return [hit(at, number, **more) for number, at in enumerate(times)]


def test_a_burst_is_three_links_within_a_second() -> None:
    assert burst(judged(*clicks(10, 10.5, 11))) == {0, 1, 2}
    assert burst(judged(*clicks(10, 10.5, 11.001))) == set()
    assert burst(judged(*clicks(10, 10.5))) == set()
    assert burst(judged(hit(10, 0), hit(10.1, 1), hit(10.2, 0), hit(10.3, 1))) == set()
    assert burst(judged(hit(10), hit(10.1), *clicks(10.2, 10.3))) == set()  # opens are no links


def test_a_burst_slides_over_what_comes_before_and_after() -> None:
    assert burst(judged(*clicks(8, 10, 10.5, 11, 11.9, 14))) == {1, 2, 3}
    assert burst(judged(*clicks(10, 10.5, 11, 11.5, 12))) == {0, 1, 2, 3, 4}


def test_a_sweep_is_six_links_within_eight_seconds() -> None:
    assert sweep(judged(*clicks(10, 11.6, 13.2, 14.8, 16.4, 18))) == {0, 1, 2, 3, 4, 5}
    assert sweep(judged(*clicks(10, 11.6, 13.2, 14.8, 16.4, 18.001))) == set()
    assert sweep(judged(*clicks(10, 11.6, 13.2, 14.8, 16.4))) == set()


@pytest.mark.parametrize("rule", [burst, sweep])
def test_looking_ahead_is_no_part_of_a_crowd(rule: Any) -> None:
    """Office and browsers ask before the person does."""
    office = "Microsoft Office Existence Discovery"
    ahead = [hit(10 + n / 10, n, HOME, office, method="HEAD") for n in range(9)]
    assert {found.verdict for _, found in judged(*ahead).hits} == {"prefetch"}
    assert rule(judged(*ahead)) == set()


@pytest.mark.parametrize(
    ("at", "fires"), [(-20, True), (-20.001, False), (41, True), (41.001, False)]
)
def test_a_companion_is_within_half_a_minute(at: float, fires: bool) -> None:
    """The burst lasts from 10 to 11 seconds."""
    near = hit(at, -1, CLOUD)
    hits = judged(near, *clicks(10, 10.5, 11, address=CLOUD))
    number = [one for one, _ in hits.hits].index(near)
    assert companion(hits) == ({number} if fires else set())


def test_a_companion_has_address_and_agent_of_the_crowd() -> None:
    crowd = clicks(10, 10.5, 11, address=CLOUD)
    assert companion(judged(*crowd, hit(12, -1, HOME))) == set()
    assert companion(judged(*crowd, hit(12, -1, CLOUD, agents.SAFARI))) == set()
    assert companion(judged(hit(12, -1, CLOUD))) == set()


@pytest.mark.parametrize(
    ("after", "address", "agent", "fetch_mode", "fires"),
    [
        (10, NEXT_DOOR, agents.CHROME, "", True),
        (10.001, NEXT_DOOR, agents.CHROME, "", False),
        (-0.001, NEXT_DOOR, agents.CHROME, "", False),
        (1, "192.0.3.1", agents.CHROME, "", False),
        (1, NEXT_DOOR, agents.CHROME, "navigate", False),  # a browser of its own
        (1, NEXT_DOOR, agents.MIMECAST, "navigate", True),
    ],
)
def test_a_click_soon_after_a_scanner_of_the_same_network(
    after: float, address: str, agent: str, fetch_mode: str, fires: bool
) -> None:
    scan = hit(10, 0, CLOUD, agents.MIMECAST, method="HEAD")
    click = hit(10 + after, 1, address, agent, fetch_mode=fetch_mode)
    # By itself a mail scanner's agent decides; the rule looks at people's clicks.
    hits = [(scan, classify(scan)), (click, classify(click)._replace(verdict="human"))]
    hits.sort(key=lambda one: one[0].at)
    assert bool(fetched_before(MessageHits(hits))) == fires


def test_networks_of_ipv6_are_48_bits_wide() -> None:
    scan = hit(10, 0, "2001:db8:1:2::1", agents.MIMECAST, method="HEAD")
    assert fetched_before(judged(scan, hit(11, 0, "2001:db8:1:ffff::9"))) == {1}
    assert fetched_before(judged(scan, hit(11, 0, "2001:db8:2:2::1"))) == set()


def test_one_hit_alone_breaks_no_rule() -> None:
    for rule in MESSAGE_RULES:
        assert rule(judged()) == set()
        for kind in (hit(10), hit(10, 0), hit(10, 0, CLOUD, agents.MIMECAST, method="HEAD")):
            assert rule(judged(kind)) == set()


def test_three_links_within_a_second_are_a_burst_from_any_address() -> None:
    found = classify_message(
        [hit(100, 0), hit(100.4, 1, OFFICE), hit(101, 2, CLOUD, agents.SAFARI)]
    )
    assert [one.verdict for one in found] == ["scanner"] * 3
    assert all(one.reasons[0] == "burst" for one in found)


@pytest.mark.parametrize(
    "hits",
    [
        [hit(100, 0), hit(100.4, 1), hit(101.1, 2)],  # a little slower
        [hit(100, 0), hit(100.4, 1)],  # two tabs
        [hit(100, 0), hit(100.2, 0), hit(100.4, 0), hit(100.6, 1)],  # an impatient finger
        [hit(n * 1.7, n) for n in range(12)],
        [hit(100), hit(100.1), hit(100.2), hit(101, 0)],
    ],
)
def test_people_who_hurry_stay_people(hits: list[Hit]) -> None:
    assert verdicts(*hits) == ["human"] * len(hits)


def test_a_person_who_reads_later_is_no_part_of_the_burst() -> None:
    burst = [hit(10 + n / 10, n, CLOUD) for n in range(5)]
    person = [hit(300, address=HOME, agent=agents.OUTLOOK), hit(310, 2, HOME, agents.EDGE)]
    assert verdicts(*burst, *person) == ["scanner"] * 5 + ["human"] * 2


def test_whoever_sent_a_burst_also_sent_what_is_near() -> None:
    burst = [hit(10 + n / 10, n, CLOUD) for n in range(3)]
    pixel, late = hit(25, -1, CLOUD), hit(60, -1, CLOUD)
    proxied = hit(11, -1, CLOUD, agents.GMAIL_PROXY)
    found = classify_message([*burst, pixel, late, proxied])
    assert [one.verdict for one in found[3:]] == ["scanner", "human", "privacy_proxy"]
    assert found[3].reasons[0] == "companion"


def test_a_slow_scanner_sweeps() -> None:
    found = classify_message([hit(10 + n, n, CLOUD) for n in range(8)])
    assert {one.verdict for one in found} == {"scanner"}
    assert {one.reasons[0] for one in found} == {"sweep"}


def test_a_click_on_what_a_scanner_has_just_fetched() -> None:
    scan = hit(10, 0, CLOUD, agents.MIMECAST, method="HEAD")
    assert verdicts(scan, hit(11, 0, NEXT_DOOR)) == ["scanner", "scanner"]
    assert verdicts(scan, hit(11, 0, NEXT_DOOR, fetch_mode="navigate")) == ["scanner", "human"]
    same = hit(11, 0, NEXT_DOOR, agents.MIMECAST, fetch_mode="navigate")
    assert verdicts(scan, same) == ["scanner", "scanner"]
    assert verdicts(scan, hit(11, 0, HOME)) == ["scanner", "human"]
    assert verdicts(scan, hit(21, 0, NEXT_DOOR)) == ["scanner", "human"]
    assert verdicts(hit(9, 0, NEXT_DOOR), scan) == ["human", "scanner"]


def test_an_unknown_address_is_near_to_none() -> None:
    scan = hit(10, 0, "", agents.MIMECAST, method="HEAD")
    assert verdicts(scan, hit(11, 0, "")) == ["scanner", "human"]


def test_office_asks_first_and_the_person_still_counts() -> None:
    asks = hit(100, 0, HOME, "Microsoft Office Existence Discovery", method="HEAD")
    assert verdicts(asks, hit(100.3, 0, HOME, agents.EDGE)) == ["prefetch", "human"]


def test_unsubscribes_are_peoples() -> None:
    burst = [hit(10 + n / 10, n, CLOUD) for n in range(3)]
    assert verdicts(*burst, hit(10.2, -1, CLOUD, kind="unsubscribe", method="POST"))[-1] == "human"


def test_thousands_of_hits_on_one_message_take_no_time_worth_naming() -> None:
    steps = [0]

    class Counted(int):
        def __sub__(self, other: int) -> int:
            steps[0] += 1
            return int(self) - other

    many = [
        Hit(
            "click",
            Counted(SENT + n),
            "default",
            1,
            MESSAGE,
            7,
            n % 9,
            address=CLOUD,
            user_agent=agents.CHROME,
            method="GET" if n % 3 else "HEAD",
        )
        for n in range(9_000)
    ]
    assert {one.verdict for one in classify_message(many)} == {"scanner"}
    assert steps[0] < 20 * len(many)


def links_of(
    count: int, pace: float, at: float = 10, agent: str = agents.CHROME, **more: str
) -> list[Hit]:
    """One click on each link of a mail, in its order."""
    return [hit(at + link * pace, link, CLOUD, agent, **more) for link in range(count)]


def reasons(hits: Sequence[Hit], links: int, https: bool = True) -> list[str]:
    """What decided on each hit, "" for people's."""
    found = classify_message(hits, None, https, links)
    return [one.reasons[0] if one.verdict in MACHINE else "" for one in found]


@pytest.mark.parametrize("https", [False, True])
@pytest.mark.parametrize("pace", [0.05, 0.4, 2])
@pytest.mark.parametrize("count", [2, 3, 7, 30])
def test_every_link_at_delivery_is_a_scanner_at_any_pace(
    count: int, pace: float, https: bool
) -> None:
    assert reasons(links_of(count, pace), count, https) == ["every_link"] * count
    if count > 2:
        browser = links_of(count, pace, fetch_mode="navigate")
        assert reasons(browser, count, https) == ["every_link"] * count


def test_every_link_over_changing_addresses_and_agents() -> None:
    hits = [
        hit(5 + 2 * link, link, f"192.0.{link}.1", agent)
        for link, agent in enumerate((agents.CHROME, agents.EDGE, agents.SAFARI) * 3)
    ]
    assert reasons(hits, 9, https=False) == ["every_link"] * 9
    assert reasons(hits[:-1], 9, https=False) == [""] * 8
    assert reasons(hits[:-1], 9, https=True) == ["most_links"] * 8


def test_delivery_ends_after_two_minutes_and_a_half() -> None:
    assert reasons([hit(100, 0), hit(150, 1)], 2, https=False) == ["every_link"] * 2
    assert reasons([hit(100, 0), hit(150.001, 1)], 2, https=False) == ["", ""]
    late = [hit(4000, 0), hit(4120, 1)]
    assert reasons(late, 2, https=True) == ["every_link"] * 2, "browsers that hide their metadata"
    assert reasons([late[0], hit(4120.001, 1)], 2, https=True) == ["", ""]


def test_a_click_after_a_sweep_is_no_part_of_it() -> None:
    """Without TLS a person's click looks as a scanner's does: it needs a sweep of its own."""
    heads = [hit(5 + link, link, CLOUD, agents.CHROME, method="HEAD") for link in range(2)]
    person = hit(50, 0, HOME, agents.EDGE)
    assert reasons([*heads, person], 2, https=False) == ["every_link", "every_link", ""]
    twice = [hit(20 + link, link, OFFICE, agents.SAFARI) for link in range(2)]
    assert reasons([*heads, *twice, person], 2, https=False) == ["every_link"] * 4 + [""]


@pytest.mark.parametrize("links", [0, 1])
def test_without_two_known_links_there_is_no_every_link(links: int) -> None:
    assert reasons([hit(10, 0), hit(12, 1)], links) == ["", ""]


def test_a_person_follows_both_links_of_a_mail() -> None:
    both = [hit(20, 0, fetch_mode="navigate"), hit(31, 1, fetch_mode="navigate")]
    assert reasons(both, 2) == reasons(both, 2, https=False) == ["", ""]


@pytest.mark.parametrize("pace", [0.12, 0.2, 0.4, 2])
def test_a_person_opens_five_of_thirty_links_in_tabs(pace: float) -> None:
    tabs = [
        hit(40 + n * pace, link, fetch_mode="navigate") for n, link in enumerate(range(3, 28, 5))
    ]
    assert reasons(tabs, 30) == reasons(tabs, 0) == [""] * 5
    # Without TLS nobody's browser sends fetch metadata.
    assert reasons([replace(one, fetch_mode="") for one in tabs], 30, https=False) == [""] * 5


def test_three_colleagues_follow_a_few_links_each() -> None:
    colleagues = [
        hit(60, 0, HOME, agents.CHROME, fetch_mode="navigate"),
        hit(64, 2, HOME, agents.CHROME, fetch_mode="navigate"),
        hit(61, 1, OFFICE, agents.EDGE, fetch_mode="navigate"),
        hit(75, 3, OFFICE, agents.EDGE, fetch_mode="navigate"),
        hit(80, 0, NEXT_DOOR, agents.SAFARI, fetch_mode="navigate"),
        hit(83, 4, NEXT_DOOR, agents.SAFARI, fetch_mode="navigate"),
    ]
    assert reasons(colleagues, 5) == [""] * 6


def test_an_office_behind_one_address_follows_in_no_order() -> None:
    office = [
        hit(30 + n * 4, link, OFFICE, fetch_mode="navigate")
        for n, link in enumerate((2, 0, 2, 3, 1, 0))
    ]
    assert reasons(office, 4) == [""] * 6


def test_one_link_from_three_networks_within_seconds() -> None:
    spread = [hit(100 + n, 0, f"192.0.{n}.7") for n in range(3)]
    assert reasons(spread, 9, https=False) == ["many_networks"] * 3
    assert reasons(spread[:2], 9, https=False) == ["", ""]
    assert reasons(spread[:2], 9) == ["many_networks"] * 2
    assert reasons([hit(100 + n, n, f"192.0.{n}.7") for n in range(3)], 9, https=False) == [""] * 3
    slow = [hit(100 + 6 * n, 0, f"192.0.{n}.7") for n in range(3)]
    assert reasons(slow, 9, https=False) == [""] * 3
    browsers = [replace(one, fetch_mode="navigate") for one in spread]
    assert reasons(browsers, 9) == [""] * 3
    assert reasons([replace(one, address="") for one in spread], 9) == [""] * 3


def test_a_persons_click_is_repeated_from_elsewhere() -> None:
    person = hit(300, 1, HOME, agents.SAFARI, fetch_mode="navigate")
    assert reasons([person, hit(312, 1, CLOUD)], 3) == ["", "many_networks"]
    assert reasons([person, hit(315.001, 1, CLOUD)], 3) == ["", ""]
    assert reasons([person, hit(312, 1, HOME)], 3) == ["", ""]


def test_a_companion_follows_over_changing_addresses() -> None:
    scan = links_of(3, 0.1)
    neighbour, elsewhere = hit(20, 5, NEXT_DOOR), hit(20, 5, "192.0.77.1")
    assert reasons([*scan, neighbour], 0, https=False)[-1] == "companion"
    assert reasons([*scan, elsewhere], 0, https=False)[-1] == ""
    assert reasons([*scan, elsewhere], 0, https=True)[-1] == "companion"
    browser = replace(neighbour, fetch_mode="navigate")
    assert reasons([*scan, browser], 0)[-1] == ""
    pixel = hit(20, -1, NEXT_DOOR)
    assert reasons([*scan, pixel], 0, https=False)[-1] == "companion"
    operator = Networks()
    operator.of = lambda address: Network(64_500, "", False)  # type: ignore[assignment]
    found = classify_message([*scan, elsewhere], operator)
    assert found[-1].reasons[0] == "companion"


def test_links_are_counted_by_what_they_lead_to() -> None:
    """Three buttons to one page are one link, wherever they are in the mail."""
    same = [replace(one, url="https://example.com/a") for one in links_of(3, 2)]
    assert reasons(same, 2) == [""] * 3
    assert (
        reasons([*same, replace(hit(20, 3, CLOUD), url="https://example.com/b")], 2)
        == ["every_link"] * 4
    )


HITS = st.builds(
    hit,
    at=st.one_of(st.integers(0, 20), st.floats(0, 30)),
    link=st.integers(-1, 8),
    address=st.sampled_from([HOME, OFFICE, CLOUD, NEXT_DOOR, "2001:db8::1", ""]),
    agent=st.sampled_from([agents.CHROME, agents.MIMECAST, agents.BARRACUDA, agents.GMAIL_PROXY]),
    method=st.sampled_from(["GET", "HEAD"]),
    fetch_mode=st.sampled_from(["", "navigate"]),
)
SLOW_HITS = st.builds(
    hit,
    at=st.floats(-40, 900),
    link=st.integers(-1, 3),
    address=st.sampled_from([HOME, OFFICE, CLOUD, NEXT_DOOR, ""]),
    agent=st.sampled_from([agents.CHROME, agents.SAFARI, agents.MIMECAST]),
    method=st.sampled_from(["GET", "HEAD"]),
    fetch_mode=st.sampled_from(["", "navigate"]),
)


@given(st.lists(HITS, max_size=12))
def test_company_makes_machines_of_people_never_people_of_machines(hits: list[Hit]) -> None:
    alone, together = [classify(one) for one in hits], classify_message(hits)
    for before, after in zip(alone, together, strict=True):
        assert set(before.reasons) <= set(after.reasons)
        if before.verdict in MACHINE:
            assert after.verdict == before.verdict
        elif after.verdict in HUMAN:
            assert after == before
    assert classified(list(reversed(hits))) == classified(hits)


def classified(hits: list[Hit]) -> list[tuple[Hit, Classification]]:
    """Independent of the order in which the hits are given, but for those of one millisecond."""
    order = sorted(hits, key=repr)
    return sorted(zip(order, classify_message(order), strict=True), key=repr)


@given(
    st.lists(st.one_of(HITS, SLOW_HITS), max_size=14),
    st.integers(0, 4),
    st.booleans(),
    st.randoms(),
)
def test_verdicts_are_a_function_of_the_set_of_hits(
    hits: list[Hit], links: int, https: bool, chance: Random
) -> None:
    verdicts = sorted(zip(hits, classify_message(hits, None, https, links), strict=True), key=repr)
    chance.shuffle(hits)
    again = sorted(zip(hits, classify_message(hits, None, https, links), strict=True), key=repr)
    assert again == verdicts


@given(st.lists(SLOW_HITS, max_size=14), st.integers(0, 4), st.booleans(), st.data())
def test_a_hits_verdict_depends_on_no_hit_beyond_the_context(
    hits: list[Hit], links: int, https: bool, data: st.DataObject
) -> None:
    if not hits:
        return
    one = data.draw(st.sampled_from(hits))
    near = [other for other in hits if abs(other.at - one.at) <= CONTEXT_MS]
    full = classify_message(hits, None, https, links)[hits.index(one)]
    assert classify_message(near, None, https, links)[near.index(one)] == full
