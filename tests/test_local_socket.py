"""Commands reach the service by a Unix socket that only its own user can open."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from itsdangerous import URLSafeTimedSerializer

from app.local_socket import LOCAL_SOCKET, address_of, listen
from app.settings.load import load, with_secrets
from app.web.requests import WORKSPACE_HEADER
from tests.support.service import Service

NOBODY = 65_534


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("local") / "data") as running:
        running.ready()
        running.wait_for((running.data_dir / LOCAL_SOCKET).exists, "the socket")
        yield running


def local_client(service: Service) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(service.data_dir / LOCAL_SOCKET))
    return httpx2.Client(base_url=service.url, transport=transport, timeout=60)


def test_a_local_request_needs_no_key(service: Service) -> None:
    with local_client(service) as client:
        assert client.get("/v1/newsletters").status_code == 200
        assert client.get("/metrics").status_code == 200
        other = client.get("/v1/newsletters", headers={WORKSPACE_HEADER: "nobody"})
        assert other.status_code == 503  # a workspace that is not there


def test_by_network_nothing_makes_a_request_local(service: Service) -> None:
    """Not even a signing key, which links of recipients are signed with."""
    settings = with_secrets(load(data_dir=service.data_dir))
    pass_ = URLSafeTimedSerializer(list(settings.secret_keys), salt="local pass").dumps("default")
    token = "local." + (pass_ if isinstance(pass_, str) else pass_.decode())
    with httpx2.Client(base_url=service.url, trust_env=False) as client:
        for headers in (
            {},
            {WORKSPACE_HEADER: "default"},
            {"authorization": f"Bearer {token}"},
            {"authorization": f"Bearer {token}", WORKSPACE_HEADER: "default"},
            {"x-forwarded-for": "unix:", "forwarded": "for=unix", WORKSPACE_HEADER: "default"},
        ):
            assert client.get("/v1/newsletters", headers=headers).status_code == 401


def test_only_the_services_user_can_connect(service: Service) -> None:
    path = service.data_dir / LOCAL_SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.getuid() != 0:
        return  # root is needed to become somebody else
    # By an open folder's descriptor, so that no folder above has to be opened to others.
    program = (
        "import os, socket, sys; os.fchdir(int(sys.argv[1])); os.setgid(65534); os.setuid(65534);"
        " s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2])"
    )
    _, descriptor = address_of(service.data_dir)

    def connects() -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, str(descriptor), LOCAL_SOCKET],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[descriptor],
        )
        return done.stderr

    try:
        service.data_dir.chmod(0o755)  # only the socket's own mode is left to protect it
        assert "Permission denied" in connects()
        path.chmod(0o666)
        assert connects() == ""
    finally:
        path.chmod(0o600)
        service.data_dir.chmod(0o700)
        os.close(descriptor)


def test_a_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / "data"
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for _ in range(2):  # the second replaces what the first has left
            listener = listen(folder)
            assert listener
            listener.listen()
            address, descriptor = address_of(folder)
            with httpx2.HTTPTransport(uds=address):
                assert (folder / LOCAL_SOCKET).is_socket()
            os.close(descriptor)
            listener.close()


def test_a_folder_that_is_missing_has_no_socket(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        address_of(tmp_path / "none")
