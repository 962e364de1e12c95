"""A snapshot of DATA_DIR: by the running service where that holds chDB, else by this process."""

import sqlite3
from pathlib import Path

from app.cli import service_client
from app.cli.service_client import AskError
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.networks import Networks, NetworksError
from app.ops import snapshot
from app.ops.backup import BackupError
from app.settings.settings import Settings
from app.storage.clickhouse import StorageError
from app.storage.state_db import open_state

FAILURES = (AskError, BackupError, StorageError, NetworksError, OSError, sqlite3.Error)


def take(settings: Settings, folder: Path, destination: str = "") -> None:
    """Fill `folder`, which is empty and in DATA_DIR. Raises one of FAILURES."""
    with service_client.service(settings) as client:
        if client:
            # It can only be told a folder that somebody with access to DATA_DIR has made.
            answer = client.post("/v1/snapshot", json={"folder": folder.name}, timeout=None)
            if answer.status_code != 200:
                raise AskError(f"the service answered {answer.status_code}: {answer.text}")
            return
    with service_client.storage(settings) as storage:
        journal = settings.data_dir / "journal"
        networks = Networks(settings.asn_file, settings.country_file)
        feed = Feed(open_state(settings.data_dir))
        loader = Loader(journal, storage, networks, feed, settings.recipient_key)
        corrections = Corrections(journal, storage, networks, feed)
        snapshot.take(settings, storage, loader, corrections, folder, destination)
