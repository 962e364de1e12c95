from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.clickhouse_migrations import files
from app.storage.clickhouse_schema import migrate
from tests.support.paths import SHARED
from tests.support.service import Service

hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.load_profile("default")


# The files that take longest. They come first: begun last, one would run alone at the end.
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
    "e2e/test_link_truth",
    "e2e/test_links_seen",
    "e2e/test_mail",
    "e2e/test_operations",
    "events/test_webhooks",
    "storage/test_clickhouse_migrations",
    "experiments/test_variants",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--no-loadscope-reorder` processes take files in this order."""
    items.sort(key=lambda item: not any(f"{name}.py" in item.nodeid for name in DEAR))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One real server process for the whole session; tests use newsletters of their own."""
    folder = tmp_path_factory.mktemp("service") / "data"
    with Service(folder, MAILWAKE_KEEP_VISITORS_DAYS="0") as running:  # some tests' hits are old
        running.ready()
        yield running


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real mail, where a checkout has one beside it."""
    folder = SHARED
    if not (folder / "corpus").is_dir():
        pytest.skip("no folder of real mail (shared/corpus) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """chDB of this process: one path only, so tests share it and use newsletters of their own."""
    storage = Storage(load(data_dir=tmp_path_factory.mktemp("chdb"), keep_visitors_days=0))
    assert migrate(storage) == [path.stem for path in files()]
    assert migrate(storage) == []
    return storage
