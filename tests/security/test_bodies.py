"""No endpoint reads a body without a bound, and no body costs the service its time.

The cost is the CPU time of the service's processes, which does not depend on what else runs.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import repeat

import httpx2
import pytest

from tests.support.service import Service
from tests.support.two_tenants import close, filled, operations, pages, visitor

MEGABYTE = 2**20
MOST_CPU_SECONDS = 1.0  # for a hostile request, the measurement's own cost included
IDS: dict[str, str] = defaultdict(lambda: "1")  # for any path parameter
HOSTILE = {
    "ampersands": (b"&" * MEGABYTE, "application/x-www-form-urlencoded"),
    "fields": (b"a=b&" * (MEGABYTE // 4), "application/x-www-form-urlencoded"),
    "percent": (b"%61" * (MEGABYTE // 3), "application/x-www-form-urlencoded"),
    "parts": (b"--x\r\n" * (MEGABYTE // 5), "multipart/form-data; boundary=x"),
    "nested": (b"[" * MEGABYTE, "application/json"),
    "numbers": (b"[" + b"1," * (MEGABYTE // 2), "application/json"),
    "lines": (b"{}\n" * (MEGABYTE // 3), "application/x-ndjson"),
}
READS_MORE = ("/v1/rewrite", "/v1/rewrite/mime")  # bounded by MAILWAKE_MAX_HTML_MB


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bodies") / "data") as running:
        running.ready()
        yield running
        close()


@pytest.fixture(scope="module")
def user(service: Service) -> httpx2.Client:
    return visitor(service, "viewer")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Returns the paths of all pages that take a POST."""
    table = pages(tmp_path_factory.mktemp("table") / "data")
    paths = [filled(path, IDS) for method, path in table if method == "POST"]
    assert len(paths) > 15, paths
    return paths


def cost(service: Service, client: httpx2.Client, path: str, body: bytes, kind: str) -> float:
    """Returns what one hostile request costs, which must be refused."""
    before = service.cpu_seconds()
    try:
        answer = client.post(path, content=body, headers={"content-type": kind})
    except httpx2.TransportError:
        pass  # refused while the body was being sent
    else:
        assert 400 <= answer.status_code < 500 or answer.status_code in (302, 303), answer
    return service.cpu_seconds() - before


@pytest.mark.parametrize("name", HOSTILE)
def test_strangers_forms_cost_nothing(service: Service, forms: list[str], name: str) -> None:
    body, kind = HOSTILE[name]
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=120) as stranger:
        stranger.get("/login")  # gets the cookie that a form is bound to
        for path in forms:
            assert cost(service, stranger, path, body, kind) < MOST_CPU_SECONDS, path


@pytest.mark.parametrize("name", ["ampersands", "fields", "parts"])
def test_users_forms_cost_nothing(
    service: Service, user: httpx2.Client, forms: list[str], name: str
) -> None:
    body, kind = HOSTILE[name]
    for path in forms:
        if path != "/logout":
            assert cost(service, user, path, body, kind) < MOST_CPU_SECONDS, path


def test_a_long_body_is_refused_before_it_is_read(service: Service, forms: list[str]) -> None:
    """Also without a content-length: 64 MB in chunks, of which almost nothing is taken."""
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=120) as stranger:
        stranger.get("/login")
        for path in ("/login", "/u/x", *forms[:2]):
            before = service.cpu_seconds()
            try:
                answer = stranger.post(
                    path,
                    content=(piece for piece in repeat(b"&" * 65_536, 1_000)),
                    headers={"content-type": "application/x-www-form-urlencoded"},
                )
                assert 300 <= answer.status_code < 500, (path, answer)
            except httpx2.TransportError:
                pass
            assert service.cpu_seconds() - before < MOST_CPU_SECONDS, path


@pytest.mark.parametrize("name", ["nested", "numbers", "lines", "ampersands"])
def test_no_operation_reads_without_a_bound(service: Service, name: str) -> None:
    body, kind = HOSTILE[name]
    for method, path in operations(service):
        if method in ("POST", "PUT", "DELETE") and path not in READS_MORE:
            before = service.cpu_seconds()
            try:
                answer = service.client.request(
                    method, filled(path, IDS), content=body, headers={"content-type": kind}
                )
                assert answer.status_code < 500, (method, path, answer.text)
            except httpx2.TransportError:
                pass
            assert service.cpu_seconds() - before < MOST_CPU_SECONDS, (method, path)


def test_a_form_has_so_many_fields_only(service: Service, user: httpx2.Client) -> None:
    answer = user.post("/account/password", data={f"field{n}": "x" for n in range(101)})
    assert answer.status_code == 400 and "at most 100 fields" in answer.text
    assert "Traceback" not in service.log.read_text()
