"""Applies the numbered files of clickhouse/migrations to ClickHouse, once each and in order.

The table `migrations` records which ones a database has had. A migration that this program does
not know was applied by a newer version, and such a database is not changed. Several hosts may start
at once: the one that creates the table `migrating` proceeds. The table's comment names the data
folder, so that a process that was killed recognises its own lock.
"""

import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.paths import resource
from app.storage.link_rekeying import rekey_links
from app.storage.unknowable import count_unknowable

log = logging.getLogger(__name__)

# On replicated tables the deduplication window is also bounded in seconds, one hour by default: an
# insert that is repeated after a longer outage would count twice.
WINDOW = "non_replicated_deduplication_window"
REPLICATED = "replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window"
_STEPS = {"rekey_links": rekey_links, "count_unknowable": count_unknowable}
_STEP = re.compile(r"\{python:(\w+)\}")
DISTRIBUTED = resource("clickhouse") / "cluster" / "distributed.sql"


class SchemaError(Exception):
    """The database's tables do not fit this program; the message says what to do."""


class Migrations:
    """Migrates one database for the data folder `owner`; `cluster` is its cluster, if any."""

    def __init__(self, client: Client, owner: str, cluster: str = "") -> None:
        self.client = client
        self._owner = owner
        self._cluster = cluster
        self._on = f" ON CLUSTER `{cluster}`" if cluster else ""

    def missing(self) -> list[Path]:
        """Returns the migrations still to apply. Raises SchemaError when the database is newer."""
        if not self._exists("migrations"):
            return files()
        if self._cluster:  # this replica may be behind
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
        """Apply the missing migrations, up to and including `until`; returns their names.

        Raises SchemaError while a process with another data folder applies them.
        """
        if not self.missing():
            if self._holder().startswith(self._owner):  # killed when all was applied
                self._unlock()
            return []
        applied = []
        has_data = self._exists("migrations")
        with self._database_lock():
            self.client.command(
                f"CREATE TABLE IF NOT EXISTS migrations{self._on}"
                " (name String, at DateTime DEFAULT now())"
                f" ENGINE = {'Replicated' if self._cluster else ''}MergeTree ORDER BY name"
                # A power failure must not make a migration of a migrated table begin again.
                " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
            )
            for path in self.missing():  # another host may have been first
                if until and path.stem > until:
                    break
                log.info("ClickHouse: %s", path.stem)
                for statement in statements(path, self._cluster):
                    if has_data and statement.startswith(("DROP TABLE", "EXCHANGE TABLES")):
                        os.sync()  # what was copied, where the server runs on this machine
                    self._run(statement)
                self.client.insert("migrations", [[path.stem]], column_names=["name"])
                applied.append(path.stem)
        return applied

    def _run(self, statement: str) -> None:
        step = _STEP.fullmatch(statement)
        if step:
            _STEPS[step[1]](self.client, self._on)
        else:
            self.client.command(statement)

    def distribute(self) -> list[str]:
        """Create the tables that read from all shards of the cluster; returns their names."""
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
        result = self.client.query(
            "SELECT count() FROM system.tables WHERE database = currentDatabase()"
            " AND name = {table:String}",
            parameters={"table": table},
        )
        return bool(result.result_rows[0][0])

    @contextmanager
    def _database_lock(self) -> Iterator[None]:
        """Hold the database's lock: creating a table succeeds for the first of several only."""
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
        # Kept after an error: the same data folder resumes the migration that it began.
        self._unlock()

    def _unlock(self) -> None:
        self.client.command(f"DROP TABLE IF EXISTS migrating{self._on}")

    def _holder(self) -> str:
        rows = self.client.query(
            "SELECT comment FROM system.tables WHERE database = currentDatabase()"
            " AND name = 'migrating'"
        ).result_rows
        return str(rows[0][0]) if rows else ""


def files() -> list[Path]:
    """Returns every migration that this program knows, the oldest first."""
    return sorted((resource("clickhouse") / "migrations").glob("*.sql"))


def statements(path: Path, cluster: str = "") -> Sequence[str]:
    """Returns a file's statements, with engines, ON CLUSTER and window filled in for a cluster."""
    text = re.sub(r"--[^\n]*", "", path.read_text())
    engine = "Replicated" if cluster else ""
    text = re.sub(r"\{engine:([^}]*)\}", lambda match: engine + match[1], text)
    text = text.replace("{cluster}", f"ON CLUSTER `{cluster}`" if cluster else "")
    text = text.replace("{window}", REPLICATED if cluster else WINDOW)
    return [part.strip() for part in text.split(";") if part.strip()]


def distributed(cluster: str, database: str, table: str) -> Iterator[str]:
    """Yields the statements that create a table over all shards."""
    names = {"name": cluster, "database": database, "table": table}
    for statement in statements(DISTRIBUTED, cluster):
        yield re.sub(r"\{(\w+)\}", lambda match: names[match[1]], statement)
