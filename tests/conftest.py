import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.clickhouse_migrations import files
from app.storage.clickhouse_schema import migrate
from tests.support.paths import SHARED
from tests.support.service import FirstStart, Service

hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.load_profile("default")


# The files that take longest. They come first: one that began last would run alone at the end.
DEAR = (
    "e2e/test_kills",
    "e2e/test_openapi",
    "e2e/test_xss",
    "docs/test_blocks",
    "integration/test_erasure",
    "integration/test_tenancy",
    "integration/test_backup",
    "experiments/test_experiments",
    "integration/test_secrets",
    "integration/test_own_data",
    "e2e/test_mail",
    "e2e/test_operations",
    "events/test_webhooks",
    "storage/test_clickhouse_migrations",
    "experiments/test_variants",
    "security/test_costs",
    "server/test_bootstrap",
    "e2e/test_faults",
    "integration/test_settled",
    "smtp/test_upstream",
    "events/test_followups",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by duration for processes with `--no-loadscope-reorder`."""
    items.sort(key=lambda item: not any(f"{name}.py" in item.nodeid for name in DEAR))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what exists by now: it would examine it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yields one real server process for the whole session; tests use their own newsletters."""
    folder = tmp_path_factory.mktemp("service") / "data"
    # Hits of some tests are old.
    with FirstStart(folder, MAILWAKE_KEEP_VISITORS_DAYS="0") as running:
        running.ready()
        yield running


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the folder of real mail, if the checkout has one next to it."""
    folder = SHARED
    if not (folder / "corpus").is_dir():
        pytest.skip("no folder of real mail (shared/corpus) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Returns chDB of this process, which opens one path only; tests use their own newsletters."""
    storage = Storage(load(data_dir=tmp_path_factory.mktemp("chdb"), keep_visitors_days=0))
    assert migrate(storage) == [path.stem for path in files()]
    assert migrate(storage) == []
    return storage
