"""Scores the verdicts on agents with labels of other projects, which lie beside the checkout."""

from dataclasses import dataclass

from app.ingest.classifier import classify
from app.ingest.user_agents import agent
from app.model.records import Hit
from app.model.verdicts import MACHINE
from tests.support.paths import SHARED

FOLDER = SHARED / "agents"
BOTS = ("bots", "bots-arcjet", "libraries")


@dataclass(frozen=True)
class Result:
    """How many agents there are, and those with another verdict or name than their label says."""

    total: int
    wrong: list[str]

    @property
    def share(self) -> float:
        """Returns the share of wrong ones."""
        return len(self.wrong) / self.total


def labelled(name: str) -> list[tuple[str, str]]:
    """Returns labels and agents of one list."""
    lines = (FOLDER / f"{name}.tsv").read_text(errors="replace").splitlines()
    return [(label, text) for label, tab, text in (line.partition("\t") for line in lines) if tab]


def click(text: str, fetch_mode: str = "") -> Hit:
    """Returns a click, long after sending, from no network."""
    message = f"{1_780_000_000_000:012x}7000{8 << 60:016x}"
    at = 1_780_000_900_000
    return Hit("click", at, "w", 1, message, 7, position=0, user_agent=text, fetch_mode=fetch_mode)


def missed_bots() -> Result:
    """Returns the bots that count as people on a click without a browser's metadata."""
    agents = [row for name in BOTS for row in labelled(name)]
    return Result(len(agents), [row[1] for row in agents if not _is_machine(row[1])])


def accused_people(fetch_mode: str) -> Result:
    """Returns the people's agents that count as machines on a click."""
    agents = labelled("people")
    wrong = [text for _, text in agents if _is_machine(text, fetch_mode)]
    return Result(len(agents), wrong)


def unnamed_clients() -> Result:
    """Returns the mail clients whose name is not the label's, or part of it."""
    agents = labelled("mail-clients")
    wrong = [f"{label}: {text}" for label, text in agents if not _same(label, agent(text).client)]
    return Result(len(agents), wrong)


def _is_machine(text: str, fetch_mode: str = "") -> bool:
    return classify(click(text, fetch_mode)).verdict in MACHINE


def _same(label: str, client: str) -> bool:
    first, second = ("".join(filter(str.isalnum, name.lower())) for name in (label, client))
    return bool(second) and (first in second or second in first)
