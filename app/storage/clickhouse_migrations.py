"""ClickHouse's tables: the numbered files of clickhouse/migrations, applied once each and in order.

The table `migrations` notes which ones a database has had. One that this program does not know was
made by a newer version, and such a database is left alone. Several hosts may start at once: who
has created the table `migrating` goes first. Its comment names the data folder, so that a process
that was killed finds its own lock again.
"""

import logging
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.paths import resource
from app.storage import link_rekeying

log = logging.getLogger(__name__)

# On replicated tables the window is bounded in seconds too, an hour by default: an insert that is
# repeated after a long outage would count twice.
WINDOW = "non_replicated_deduplication_window"
REPLICATED = "replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window"
_STEP = re.compile(r"\{python:(\w+)\}")
DISTRIBUTED = resource("clickhouse") / "cluster" / "distributed.sql"


class SchemaError(Exception):
    """The database's tables do not fit this program; the message says what to do."""


class Migrations:
    """Of one database, for the data folder `owner`; `cluster` names its cluster if it has one."""

    def __init__(self, client: Client, owner: str, cluster: str = "") -> None:
        self.client = client
        self._owner = owner
        self._cluster = cluster
        self._on = f" ON CLUSTER `{cluster}`" if cluster else ""

    def missing(self) -> list[Path]:
        """What has yet to be applied. Raises SchemaError when the database is newer."""
        if not self._exists("migrations"):
            return files()
        if self._cluster:  # the replica at hand may not have heard yet
            self.client.command("SYSTEM SYNC REPLICA migrations")
        names = {row[0] for row in self.client.query("SELECT name FROM migrations").result_rows}
        if unknown := names - {path.stem for path in files()}:
            raise SchemaError(
                "the database was created by a newer version of Mailwake"
                f" ({', '.join(sorted(unknown))}): run"
                " that version, or restore a backup from before"
            )
        return [path for path in files() if path.stem not in names]

    def apply(self, until: str = "") -> list[str]:
        """Apply what is missing, up to and with `until`; returns the names.

        Raises SchemaError while another data folder does.
        """
        if not self.missing():
            return []
        applied = []
        with self._alone():
            self.client.command(
                f"CREATE TABLE IF NOT EXISTS migrations{self._on}"
                " (name String, at DateTime DEFAULT now())"
                f" ENGINE = {'Replicated' if self._cluster else ''}MergeTree ORDER BY name"
            )
            for path in self.missing():  # another host may have been first
                if until and path.stem > until:
                    break
                log.info("ClickHouse: %s", path.stem)
                for statement in statements(path, self._cluster):
                    self._run(statement)
                self.client.insert("migrations", [[path.stem]], column_names=["name"])
                applied.append(path.stem)
        return applied

    def _run(self, statement: str) -> None:
        step = _STEP.fullmatch(statement)
        if step:
            link_rekeying.STEPS[step[1]](self.client, self._on)
        else:
            self.client.command(statement)

    def distribute(self) -> list[str]:
        """Tables over all shards of the cluster, to read from; returns their names."""
        database = str(self.client.command("SELECT currentDatabase()"))
        tables = self.client.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase()"
            " AND engine LIKE '%MergeTree' AND name != 'migrations' ORDER BY name"
        )
        for (table,) in tables.result_rows:
            for statement in distributed(self._cluster, database, table):
                self.client.command(statement)
        return [f"{database}_all.{table}" for (table,) in tables.result_rows]

    def _exists(self, table: str) -> bool:
        found = self.client.query(
            "SELECT count() FROM system.tables WHERE database = currentDatabase()"
            " AND name = {table:String}",
            parameters={"table": table},
        )
        return bool(found.result_rows[0][0])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Creating a table is the one thing that only the first of several can do."""
        host = re.sub("[^A-Za-z0-9.-]", "", socket.gethostname())
        try:
            self.client.command(
                f"CREATE TABLE migrating{self._on} (nothing UInt8) ENGINE = Memory"
                f" COMMENT '{self._owner} of {host}'"
            )
        except ClickHouseError as error:
            if "TABLE_ALREADY_EXISTS" not in str(error):
                raise
            holder = self._holder()
            if not holder.startswith(self._owner):
                raise SchemaError(
                    f"another host is migrating this database ({holder or 'just done'}). If that"
                    " host is gone for good, run DROP TABLE migrating."
                ) from error
        yield
        # Not after an error: what this data folder has begun, it goes on with.
        self.client.command(f"DROP TABLE migrating{self._on}")

    def _holder(self) -> str:
        rows = self.client.query(
            "SELECT comment FROM system.tables WHERE database = currentDatabase()"
            " AND name = 'migrating'"
        ).result_rows
        return str(rows[0][0]) if rows else ""


def files() -> list[Path]:
    """Every migration that this program knows, oldest first."""
    return sorted((resource("clickhouse") / "migrations").glob("*.sql"))


def statements(path: Path, cluster: str = "") -> Sequence[str]:
    """The statements of a file, with engines, ON CLUSTER and window filled in for a cluster."""
    text = re.sub(r"--[^\n]*", "", path.read_text())
    engine = "Replicated" if cluster else ""
    text = re.sub(r"\{engine:([^}]*)\}", lambda match: engine + match[1], text)
    text = text.replace("{cluster}", f"ON CLUSTER `{cluster}`" if cluster else "")
    text = text.replace("{window}", REPLICATED if cluster else WINDOW)
    return [part.strip() for part in text.split(";") if part.strip()]


def distributed(cluster: str, database: str, table: str) -> Iterator[str]:
    """The statements that make a table over all shards."""
    names = {"name": cluster, "database": database, "table": table}
    for statement in statements(DISTRIBUTED, cluster):
        yield re.sub(r"\{(\w+)\}", lambda match: names[match[1]], statement)
