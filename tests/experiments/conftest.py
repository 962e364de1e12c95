"""The service that a file of these tests has for itself, and its client."""

from collections.abc import Iterator

import pytest

from mailwake_client import Mailwake
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may reach receivers of webhooks on this machine."""
    folder = tmp_path_factory.mktemp("experiments") / "data"
    with Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Mailwake]:
    with Mailwake(service.url, service.api_key) as mailwake:
        yield mailwake
