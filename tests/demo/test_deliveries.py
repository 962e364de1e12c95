from collections import Counter
from random import Random

from app.demo.audience import audience
from app.demo.deliveries import reports


def test_nearly_all_mail_is_delivered() -> None:
    rng, kinds = Random(1), Counter[str]()
    for reader in audience(1):
        first, *later = reports(rng, reader)
        kinds[f"{first.kind} {first.permanent}"] += 1
        assert first.kind == "delivered" or not later
        assert all(report.kind == "complained" and report.at > first.at for report in later)
    total = sum(kinds.values())
    assert set(kinds) == {"delivered False", "bounced True", "bounced False"}
    assert 0.95 * total < kinds["delivered False"] < total
