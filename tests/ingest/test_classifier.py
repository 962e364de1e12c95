from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import agents
from app.ingest.classifier import Classification, classify
from app.ingest.message_rules import classify_message
from app.model.ids import new_id, sent_at
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


def test_an_id_carries_its_time() -> None:
    assert sent_at(MESSAGE) == SENT


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


HITS = st.builds(
    hit,
    at=st.one_of(st.integers(0, 20), st.floats(0, 30)),
    link=st.integers(-1, 8),
    address=st.sampled_from([HOME, OFFICE, CLOUD, NEXT_DOOR, "2001:db8::1", ""]),
    agent=st.sampled_from([agents.CHROME, agents.MIMECAST, agents.BARRACUDA, agents.GMAIL_PROXY]),
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
