"""Measures verdicts on the labelled hits of tests/data/replay, and the time for hostile agents."""

import gc
import random
import string
import time

from app.ingest.user_agents import agent
from app.model.verdicts import HUMAN
from tests.bench import SMALL, size
from tests.support import labelled_agents
from tests.support.labelled_hits import DECIDING, HINTS, patterns, score
from tests.support.simulated_hits import evaluate, simulate

AGENTS = size("AGENTS", 10_000, 100)  # 100,000 take three minutes
PEOPLE = size("PEOPLE", 10_000, 50)
VERDICTS = ("human", "prefetch", "scanner", "bot", "assistant")


def run() -> None:
    """Print both."""
    hits = sum(len(pattern.hits) for pattern in patterns())
    print(f"{hits:,} hits in {len(patterns())} patterns")
    for hints in (False, True):
        result = score(hints)
        print(f"{'with' if hints else 'without'} a file of networks:")
        people, machines = result.recall(human=True), result.recall(human=False)
        print(f"  recall of people {people:.4f}, of machines {machines:.4f}")
        for verdict in VERDICTS:
            labelled = {k: n for k, n in result.verdicts.items() if k[0] == verdict}
            right = sum(n for (_, actual), n in labelled.items() if _same(verdict, actual))
            recall = right / sum(labelled.values())
            print(f"  {verdict:10} precision {result.precision(verdict):.4f}  recall {recall:.4f}")
    print(f"  {'rule':20} machines people  precision  alone on people")
    for rule in (*DECIDING, *HINTS):
        on, off = result.fired[rule, True], result.fired[rule, False]
        share = f"{on / (on + off):9.4f}" if on + off else "        -"
        print(f"  {rule:20} {on:8} {off:6}  {share}  {result.alone_on_people[rule]}")
    _simulation()
    _labelled_agents()
    _agents()


def _simulation() -> None:
    messages = simulate(7, PEOPLE, PEOPLE // 5)
    for https in (True, False):
        outcome = evaluate(messages, https)
        people, scanners = outcome.share(person=True), outcome.share(person=False)
        print(
            f"{len(messages):,} simulated messages {'with' if https else 'without'} TLS:"
            f" recall of people {people:.4f}, of scanners {scanners:.4f},"
            f" precision of scanners {outcome.precision:.4f}"
        )


def _labelled_agents() -> None:
    """Print the scores on labelled agents, if they lie beside the checkout."""
    if SMALL or not labelled_agents.FOLDER.is_dir():
        return
    for text, result in (
        ("bots that count as people on a click", labelled_agents.missed_bots()),
        ("people that count as machines, navigating", labelled_agents.accused_people("navigate")),
        ("people that count as machines, no metadata", labelled_agents.accused_people("")),
        ("mail clients without their name", labelled_agents.unnamed_clients()),
    ):
        print(f"  {text:44} {len(result.wrong):5} of {result.total:6,}  {result.share:.4%}")


def _same(label: str, verdict: str) -> bool:
    return label == ("human" if verdict in HUMAN else verdict)


def hostile(count: int, seed: int) -> list[str]:
    """Returns random and hostile agents: noise, repetition, pieces of real ones, overlong ones."""
    rng = random.Random(seed)
    pieces = (
        "Mozilla/5.0 ",
        "(",
        ")",
        "; ",
        "Windows NT 10.0",
        "Android 14",
        "like Gecko",
        "Safari/",
        "Chrome/",
        "Version/",
        "Mobile ",
        "bot",
        "spider",
        "0.0.",
        "\t",
        "\x00",
        "://",
        "é",
        "漢",
    )
    agents = []
    for _ in range(count):
        length = rng.choice((5, 60, 200, 512, 3000))
        kind = rng.randrange(5)
        if kind == 0:
            text = "".join(rng.choices(string.printable, k=length))
        elif kind == 1:
            text = rng.choice(pieces) * length
        elif kind == 2:
            text = "".join(rng.choices(pieces, k=length // 4 + 1))
        elif kind == 3:
            text = "".join(map(chr, rng.choices(range(1, 0xD7FF), k=length)))
        else:
            text = rng.choice(string.ascii_letters) * length + rng.choice(pieces)
        agents.append(text[:4096] + str(rng.random()))
    return agents


def _agents() -> None:
    agent("")  # the first compiles patterns
    agent("neither a browser nor a program")
    gc.disable()  # a pause of the collector is not the agent's
    slowest, start = 0.0, time.perf_counter()
    for text in hostile(AGENTS, 7):
        begun = time.thread_time()
        agent(text)
        slowest = max(slowest, time.thread_time() - begun)
    taken = time.perf_counter() - start
    gc.enable()
    each, most = taken / AGENTS * 1000, slowest * 1000
    print(f"{AGENTS:,} hostile agents: {each:.2f} ms each, at most {most:.1f} ms")


if __name__ == "__main__":
    run()
