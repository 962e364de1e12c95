import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from app.server.demo_history import DAYS, SUBSCRIBERS
from tests.support.service import FirstStart


class Demo(FirstStart):
    """`mailwake demo` with hardly any traffic of its own."""

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "app", "demo", "--speed", "0.1"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--data-dir", str(self.data_dir)],
                env=self.env,
                cwd=self.root,
                stdout=log,
                stderr=log,
            )


def has_history(demo: Demo, seen: int) -> bool:
    """Whether the history is there, and traffic after `seen` messages of it."""
    if demo.client.get("/v1/newsletters/spring-sale-preview/stats").status_code != 200:
        return False
    preview = demo.stats("spring-sale-preview")
    return bool(
        preview["messages"] > 0.9 * SUBSCRIBERS  # closed mailboxes get one mail
        and preview["outcomes"]["delivered"] > 0.9 * preview["messages"]
        and preview["clicks"]["machine"]["total"] > 100
        and demo.stats("abandoned-cart")["messages"] > 200
        and demo.stats("spring-sale")["messages"] > seen
    )


def test_a_new_demo_has_a_month_of_history_once(tmp_path: Path) -> None:
    with Demo(tmp_path / "data") as demo:
        seen = 0
        for start in ("first", "second"):
            demo.wait_for(partial(has_history, demo, seen), f"history after the {start} start")
            seen = demo.stats("spring-sale")["messages"]
            stats = demo.stats("spring-sale-preview")
            assert stats["messages"] <= SUBSCRIBERS
            assert stats["rates_of"] == "delivered"
            assert stats["opens"]["human"]["unique"] > stats["clicks"]["human"]["unique"] > 5
            steps = demo.get("/v1/newsletters/abandoned-cart/timeline", step=86_400)["points"]
            days = {step["at"][:10] for step in steps}
            assert len(days) > DAYS - 5
            month = datetime.now(UTC) - timedelta(days=DAYS + 1)
            assert all(datetime.fromisoformat(step["at"]) > month for step in steps)
            links = demo.get("/v1/newsletters/spring-sale-preview/links")["links"]
            assert {link["carried"] for link in links if link["human"]["unique"]} == {
                stats["messages"]
            }
            demo.stop()
            demo.start()
