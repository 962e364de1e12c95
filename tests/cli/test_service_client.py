from pathlib import Path

import pytest

from app.cli import service_client
from app.cli.service_client import AskError
from app.local_socket import LOCAL_SOCKET
from app.settings.load import load, with_secrets
from app.storage.clickhouse import StorageError
from tests.support.service import Service, free_port


def test_the_service_of_this_folder_is_asked(service: Service) -> None:
    settings = with_secrets(load(data_dir=service.data_dir, port=service.port))
    with service_client.service(settings) as client:
        assert client
        answer = client.get("/v1/newsletters")
        assert answer.status_code == 200, answer.text


def test_another_folders_service_is_not_reached(service: Service, tmp_path: Path) -> None:
    """Not even if it listens on the same port: the socket is in the folder."""
    settings = with_secrets(load(data_dir=tmp_path, port=service.port))
    with service_client.service(settings) as client:
        assert client is None


def test_a_folder_that_does_not_exist_has_no_service(tmp_path: Path) -> None:
    with service_client.service(load(data_dir=tmp_path / "none")) as client:
        assert client is None


def test_where_nothing_listens_the_database_is_free(tmp_path: Path) -> None:
    with service_client.service(with_secrets(load(data_dir=tmp_path, port=free_port()))) as client:
        assert client is None


def test_with_a_server_the_service_is_not_asked(service: Service, tmp_path: Path) -> None:
    settings = load(
        data_dir=tmp_path, port=service.port, clickhouse_dsn="clickhouse://127.0.0.1:1/x"
    )
    with service_client.service(settings) as client:
        assert client is None


class Locked:
    """A database that another process has open."""

    says = "chdb engine is locked"
    closed = 0

    def __init__(self, settings: object) -> None:
        pass

    def close(self) -> None:
        Locked.closed += 1


@pytest.mark.parametrize(
    ("says", "dsn", "error"),
    [
        ("cannot start the chdb engine", "chdb", AskError),
        ("the disk is full", "chdb", StorageError),
        ("no chdb engine", "clickhouse://127.0.0.1:1/x", StorageError),
    ],
)
def test_a_database_that_another_process_has_open_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    dsn: str,
    error: type[Exception],
) -> None:
    closed = Locked.closed

    def fails(_: object) -> None:
        raise StorageError(says)

    monkeypatch.setattr(service_client, "open_storage", Locked)
    monkeypatch.setattr(service_client, "prepare", fails)
    with (
        pytest.raises(error) as caught,
        service_client.storage(load(data_dir=tmp_path, clickhouse_dsn=dsn)),
    ):
        pass
    assert (LOCAL_SOCKET in str(caught.value)) == (error is AskError)
    assert Locked.closed == closed + 1
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
