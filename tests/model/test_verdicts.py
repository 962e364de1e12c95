from typing import get_args

from app.model.verdicts import HUMAN, MACHINE, Verdict


def test_every_verdict_is_a_persons_or_a_machines() -> None:
    assert sorted((*HUMAN, *MACHINE)) == sorted(get_args(Verdict))
