import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from app.settings.load import load
from app.storage import state_db
from app.storage.clickhouse import Storage
from app.storage.clickhouse_migrations import files
from app.storage.clickhouse_schema import migrate
from tests.support.paths import SHARED
from tests.support.postgres import Postgres, available
from tests.support.service import FirstStart, Service

hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.load_profile("default")


# The files that take longest, in this order: one that began last would run alone at the end.
DEAR = (
    "e2e/test_clock_steps",
    "storage/test_clickhouse_migrations",
    "integration/test_benches",
    "e2e/test_disk_faults",
    "e2e/test_dashboard",
    "experiments/test_experiments",
    "ingest/test_verification",
    "e2e/test_accessibility",
    "e2e/test_openapi",
    "integration/test_settled",
    "security/test_costs",
    "e2e/test_kills_at_work",
    "e2e/test_faults",
    "e2e/test_xss",
    "e2e/test_api_docs",
    "e2e/test_generated_clients",
    "events/test_followups",
    "integration/test_own_data",
    "integration/test_scanners",
    "e2e/test_actions",
    "integration/test_erasure",
    "e2e/test_hosts",
    "e2e/test_kills",
    "events/test_webhooks",
    "docs/test_blocks",
    "integration/test_kept_rows",
    "integration/test_secrets",
    "e2e/test_link_truth",
    "e2e/test_mail",
    "ingest/test_corrections",
    "integration/test_simulation",
    "e2e/test_operations",
    "integration/test_backup",
    "e2e/test_live_pages",
    "smtp/test_upstream",
    "integration/test_tenancy",
    "server/test_bootstrap",
)


# What tests the state itself runs on SQLite and on PostgreSQL.
ON_BOTH = (
    "auth/test_api_keys",
    "auth/test_devices",
    "auth/test_login_guard",
    "auth/test_sessions",
    "auth/test_users",
    "auth/test_workspaces",
    "consent/test_erasure_requests",
    "consent/test_suppressions",
    "consent/test_withdrawals",
    "events/test_feed",
    "events/test_webhooks",
    "experiments/test_variants",
    "stats/test_signals",
    "storage/test_row_limits",
    "storage/test_segment_register",
    "storage/test_state_db",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of ON_BOTH that have a folder once with each database."""
    name = metafunc.module.__name__.removeprefix("tests.").replace(".", "/")
    names = metafunc.fixturenames
    if name in ON_BOTH and "tmp_path" in names and "postgres" not in names:
        names.append("state_database")
        metafunc.parametrize("state_database", ["sqlite", "postgresql"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by duration for processes with `--no-loadscope-reorder`."""
    places = {f"tests/{name}.py": place for place, name in enumerate(DEAR)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(DEAR)))


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Yields a PostgreSQL of this process of tests; each test uses a database of its own."""
    if not available():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with Postgres() as running:
        yield running


@pytest.fixture
def state_database(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Yields which database `open_state` opens: with "postgresql", one for each folder."""
    dsns: dict[Path, str] = {}
    engines: list[Engine] = []
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")

        def open_own(folder: Path, migrate: bool) -> Engine:
            if folder not in dsns:
                dsns[folder] = server.database()
            engines.append(state_db._open_shared(dsns[folder], migrate))
            return engines[-1]

        monkeypatch.setattr(state_db, "_open_file", open_own)
    yield request.param
    for engine in engines:
        engine.dispose()
