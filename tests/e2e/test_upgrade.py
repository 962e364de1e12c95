"""A folder that version 0.1 has filled, brought up to date: no link and no figure is lost.

The program of before comes out of git's history; without it the test is skipped.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

from app.demo import agents
from app.links import identity
from tests.support.paths import ROOT
from tests.support.service import FirstStart, paths, tracked_urls

BEFORE = "a8d6ea7168cc20e7ca08c25253a9698ddd1860e4"  # the last commit of version 0.1
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
KEY = "Zk3J9qLw8VtX2bNc7RyP"
MAIL = f"""<body><a href="https://shop.example/boots?utm_source=x" data-track-tag="boots">Boots</a>
<a href="https://shop.example/boots">Boots again</a><a href="https://bücher.example/a b">Books</a>
<a href="https://shop.example/reset?token={KEY}">Reset</a></body>"""
TARGETS = 4
# chdb-core is the engine. It runs without these, and `chdb` elsewhere than beside it hides it.
NEEDLESS = {"chdb", "numpy", "pandas", "pyarrow", "python-dateutil"}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    packed = subprocess.run(
        ["git", "archive", BEFORE, "app", "clickhouse", "static", "docs", "requirements.lock"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        pytest.skip("no history of version 0.1 in this checkout")
    subprocess.run(["tar", "x"], input=packed.stdout, cwd=folder, check=True)
    _install_missing(folder)
    return folder


def _install_missing(folder: Path) -> None:
    """Install beside `app` the packages of that time that this version no longer needs."""
    lines = (folder / "requirements.lock").read_text().replace("\\\n", "").splitlines()
    pins = [line for line in lines if "==" in line and "sys_platform" not in line]
    installed = {_canonical(package.name) for package in metadata.distributions()}
    missing = [pin for pin in pins if _canonical(pin.split("==")[0]) not in installed | NEEDLESS]
    (folder / "missing.lock").write_text("\n".join(missing))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--target", folder, "-r", folder / "missing.lock"], check=True)


def _canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
@pytest.mark.parametrize("stop", ["stopped", "killed"])
def test_links_and_figures_of_version_0_1_live_on(before: Path, tmp_path: Path, stop: str) -> None:
    service = FirstStart(tmp_path / "data")
    now, service.root = service.root, before
    expected: Counter[int] = Counter()
    urls: list[str] = []
    with service:
        for n in range(40):
            answer = service.rewrite("old", MAIL, f"reader{n}@example.com")
            urls = [path for path in paths(tracked_urls(answer["html"])) if "/c/" in path]
            place = n % TARGETS
            assert service.client.get(urls[place], headers=PERSON).status_code == 302
            expected[place] += 1

        def drained() -> bool:
            """Whether version 0.1 has loaded everything; /healthz/full is younger."""
            state = service.client.get("/readyz").json()
            return bool(state["ready"] and state["journal"]["bytes"] == 0)

        service.wait_for(drained, "empty journal")
        stats = service.stats("old")
        old = {link["index"]: link for link in service.get("/v1/newsletters/old/links")["links"]}
        assert {place: link["all"]["total"] for place, link in old.items()} == dict(expected)
        last = service.client.get(urls[0], headers=PERSON)  # in the journal, or loaded just now
        expected[0] += 1
        if stop == "killed":
            service.kill()
            service.start()  # version 0.1 itself, so that it counts what the kill has left
            service.client.get("/healthz")
        service.stop()
        service.root = now
        service.start()
        service.drained()
        links = service.get("/v1/newsletters/old/links")["links"]
        by_place: Counter[int] = Counter()
        for link in links:
            by_place.update({p["position"]: p["all"]["total"] for p in link["positions"]})
        assert by_place == expected
        figures = service.stats("old")
        assert figures["messages"] == stats["messages"] == 40
        assert figures["clicks"]["all"]["total"] == stats["clicks"]["all"]["total"] + 1
        boots = identity.shown_id(identity.identify("https://shop.example/boots").link)
        named = {link["id"]: link for link in links}
        assert len(links) == 3 and named[boots]["all"]["total"] == expected[0] + expected[1]
        assert [link["carried"] for link in links] == [40] * 3
        assert not any(KEY in link["url"] for link in links)
        # Old links redirect, and count for the link that they were.
        for place, url in enumerate(urls):
            location = service.client.get(url, headers=PERSON).headers["location"]
            assert location == last.headers["location"] or place
            expected[place] += 1
        service.drained()
        after = {link["id"]: link for link in service.get("/v1/newsletters/old/links")["links"]}
        assert set(after) == set(named)
        assert after[boots]["all"]["total"] == expected[0] + expected[1]
        told = [json.loads(line) for line in service.client.get("/v1/events").text.splitlines()]
        of = Counter(
            event["link"]["id"]
            for event in told
            if event["link"] and event["type"] == "message.clicked"
        )
        assert of == {link["id"]: link["all"]["total"] for link in after.values()}
        assert not any(KEY in json.dumps(event) for event in told)
