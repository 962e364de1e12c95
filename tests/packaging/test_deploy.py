"""What images are made and started from: Dockerfile, compose.yaml and the Caddyfile.

No container engine runs here: what the files say is checked, and run where it can be without one.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]

from app.settings.load import (
    load,
    unknown_variables,
)
from app.settings.settings import PREFIX, Settings
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, free_port

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CADDYFILE = ROOT / "docs" / "deploy" / "Caddyfile"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def of(name: str, stage: int | None = None) -> list[str]:
    found, current = [], -1
    for instruction, rest in instructions():
        current += instruction == "FROM"
        if instruction == name and stage in (None, current):
            found.append(rest.strip())
    return found


# --- the image ---


def test_the_image_is_made_of_pinned_bases_and_files_that_exist() -> None:
    assert len(of("FROM")) == 2
    for base in of("FROM"):
        assert re.fullmatch(r"python:3\.\d+-slim( AS build)?", base)
    locks = {*of("ARG", 0), f"LOCK={SERVICES['mailwake']['build']['args']['LOCK']}"}
    assert locks == {"LOCK=requirements.lock", "LOCK=requirements-server.lock"}
    copied = [shlex.split(rest)[:-1] for rest in of("COPY", 0)]
    assert copied.pop(0) == ["${LOCK}"]
    copied.append([lock.removeprefix("LOCK=") for lock in locks])
    for sources in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            assert reaches_the_builder(source), f".dockerignore hides {source}"
    for secret in ("data", ".env", "secrets", ".git", "tests", "docs/operations.md"):
        assert not reaches_the_builder(secret), secret
    # What a wheel carries beside the package is copied too.
    wheel = re.findall(r'^"([\w/.]+)" = "app/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {source for sources in copied for source in sources} >= {"app", *wheel}


def reaches_the_builder(path: str) -> bool:
    """The last pattern of .dockerignore that matches decides."""
    there = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = path.split("/")
            paths = ["/".join(parts[: n + 1]) for n in range(len(parts))]
            if any(fnmatch.fnmatch(one, pattern) for one in paths):
                there = line.startswith("!")
    return there


def test_it_runs_as_nobody_and_can_install_nothing() -> None:
    assert of("USER", 1) == ["10001"]
    last = of("RUN", 1)
    assert len(last) == 1 and "pip uninstall" in last[0] and "ensurepip" in last[0]
    assert "-m 0700 /data" in last[0] and of("VOLUME", 1) == ["/data"]
    assert "--without-pip" in of("RUN", 0)[0] and "--require-hashes" in of("RUN", 0)[0]
    assert not re.search(r"apt-get|gcc|build-essential|git", " ".join(of("RUN")))
    assert json.loads(of("ENTRYPOINT")[0]) == ["mailwake"] and json.loads(of("CMD")[0]) == ["serve"]
    for name in re.findall(rf"{PREFIX}([A-Z_]+)=", of("ENV", 1)[0]):
        assert name.lower() in Settings.model_fields


@pytest.fixture(scope="module")
def imageless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service without the packages that the locks leave out, on the image's variables."""
    folder = tmp_path_factory.mktemp("image")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    left_out = project["tool"]["uv"]["exclude-dependencies"]
    assert left_out
    for name in left_out:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not in the image')\n")
    env = dict(re.findall(rf"({PREFIX}\w+)=(\S+)", of("ENV", 1)[0]))
    env |= {"MAILWAKE_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(folder)}
    env |= {
        "MAILWAKE_PUBLIC_URL": "https://click.localhost",
        "MAILWAKE_DASHBOARD_URL": "https://mailwake.localhost",
        "MAILWAKE_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    with Service(folder / "data", **env) as service:
        yield service


def test_the_image_has_what_the_service_needs(imageless: Service) -> None:
    service = imageless
    written = service.rewrite("image", '<a href="https://example.com/">x</a>')
    for path in set(re.findall(r"https://click\.localhost(/[oc]/[\w./-]+)", written["html"])):
        assert service.client.get(path).status_code in (200, 302)
    service.drained()
    assert service.stats("image")["clicks"]["all"]["total"] == 1
    for path in ("links", "agents", "timeline"):
        service.get(f"/v1/newsletters/image/{path}")
    service.client.post("/login", data={"password": service.password})
    for form in ("csv", "json", "parquet"):
        answer = service.client.get(f"/newsletters/image/export?show=all&format={form}")
        assert answer.status_code in (200, 303)
    assert service.client.post("/v1/reclassify").status_code == 200


def test_the_health_check_tells_a_service_from_none(imageless: Service) -> None:
    command = json.loads(of("HEALTHCHECK")[0].split(" CMD ")[1])
    assert command[0] == "python"

    def check(port: int) -> int:
        words = [sys.executable, *(word.replace(":8025/", f":{port}/") for word in command[1:])]
        return subprocess.run(
            words, check=False, capture_output=True, timeout=PATIENCE_SECONDS
        ).returncode

    assert ":8025/healthz" in command[-1] and of("EXPOSE") == ["8025"]
    assert check(imageless.port) == 0
    assert check(free_port()) != 0


# --- compose.yaml ---


def test_images_are_pinned_watched_and_have_few_rights() -> None:
    assert set(SERVICES) == {"mailwake", "load", "clickhouse", "caddy"}
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[\w/-]+:(\d+\.\d+[\w.-]*|local)", service["image"]), name
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service or name == "mailwake", name  # the Dockerfile has its own
        assert "privileged" not in service and "network_mode" not in service
        assert ("ports" in service) == (name == "caddy")
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 12_000, name
        assert name == "clickhouse" or service["read_only"], name
    added = {name: service["cap_add"] for name, service in SERVICES.items() if "cap_add" in service}
    assert added == {
        "caddy": ["NET_BIND_SERVICE"],
        # What its entrypoint needs to change owners and users.
        "clickhouse": ["CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID"],
    }
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert SERVICES["clickhouse"]["networks"] == ["back"]
    assert "front" not in SERVICES["load"]["networks"]
    assert "depends_on" not in SERVICES["mailwake"], "links work without a database"
    for service in SERVICES.values():
        for condition in service.get("depends_on", {}).values():
            assert condition == {"condition": "service_healthy"}


def test_volumes_secrets_and_files_are_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file() and mount.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
        assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert not re.search(r"(?i)password: *\w|password=[^\"$]", (ROOT / "compose.yaml").read_text())


@pytest.mark.parametrize("name", ["mailwake", "load"])
def test_its_settings_are_good(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the service itself reads them, its secret file included."""
    (tmp_path / "password").write_text("as openssl rand writes it\n")
    for variable in os.environ:
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)
    hosts = {"CLICK_HOST": "click.example.com", "DASHBOARD_HOST": "mailwake.example.com"}
    for variable, value in SERVICES[name]["environment"].items():
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: hosts[match[1]], value)
        monkeypatch.setenv(variable, text.replace("/run/secrets/clickhouse_", f"{tmp_path}/"))
    monkeypatch.chdir(tmp_path)
    chosen = load()
    assert unknown_variables() == []
    assert chosen.clickhouse_password == "as openssl rand writes it"
    assert chosen.console_url != chosen.public_url
    assert chosen.load == (name == "load") and chosen.workers == (2 if name == "mailwake" else 1)
    subnet = COMPOSE["networks"]["front"]["ipam"]["config"][0]["subnet"]
    assert chosen.trusted_proxies == (subnet,)
    user, database = (
        SERVICES["clickhouse"]["environment"][f"CLICKHOUSE_{n}"] for n in ("USER", "DB")
    )
    assert chosen.clickhouse_dsn == f"clickhouse://{user}@clickhouse:8123/{database}"


# --- secrets in files ---


# --- Caddy ---


@pytest.fixture
def caddy(tmp_path: Path, imageless: Service) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The Caddyfile as it is, on other ports and with an authority of its own."""
    unpacked = Path(sys.prefix) / "caddy" / "usr" / "bin" / "caddy"
    program = str(unpacked) if unpacked.exists() else shutil.which("caddy")
    if not program:
        pytest.skip("caddy is not here: see the Makefile")
    port = free_port()
    config = tmp_path / "Caddyfile"
    options = (f"http_port {free_port()}", f"https_port {port}", "skip_install_trust", "admin off")
    config.write_text("{\n" + "\n".join(options) + "\n}\n" + CADDYFILE.read_text())
    env = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "CLICK_HOST": "click.localhost",
        "DASHBOARD_HOST": "mailwake.localhost",
        "MAILWAKE": f"127.0.0.1:{imageless.port}",
    }
    arguments = ["--config", str(config), "--adapter", "caddyfile"]
    checked = subprocess.run(
        [program, "validate", *arguments], env=env, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen([program, "run", *arguments], env=env, stdout=log, stderr=log)
    try:
        root = tmp_path / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        ready = tmp_path / "caddy" / "certificates" / "local"
        end = time.monotonic() + PATIENCE_SECONDS
        while len(list(ready.glob("*/*.crt"))) < 2:
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield port, ssl.create_default_context(cafile=str(root))
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def test_behind_caddy_hosts_are_apart_and_addresses_are_true(
    caddy: tuple[int, ssl.SSLContext], imageless: Service
) -> None:
    port, context = caddy
    service = imageless

    def get(host: str, path: str, **headers: str) -> httpx2.Response:
        with httpx2.Client(verify=context, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            return client.get(
                f"https://127.0.0.1:{port}{path}",
                headers={"host": host, **headers},
                extensions={"sni_hostname": host},
            )

    written = service.rewrite("caddy", '<a href="https://example.com/">x</a>')
    pixel = re.findall(r"https://click\.localhost(/o/[\w./-]+)", written["html"])[0]
    spoofed = {"x-forwarded-for": "203.0.113.9", "user-agent": "Thunderbird"}
    lines = b""
    end = time.monotonic() + PATIENCE_SECONDS
    while b"Thunderbird" not in lines:  # until one is seen before the loader takes it away
        assert time.monotonic() < end
        answer = get("click.localhost", pixel, **spoofed)
        assert answer.status_code == 200 and len(answer.content) == 43
        for path in (service.data_dir / "journal").glob("*.[os]*"):
            with suppress(FileNotFoundError):
                lines += path.read_bytes()
    assert b"203.0.113" not in lines
    assert get("click.localhost", "/login").status_code == 404
    login = get("mailwake.localhost", "/login")
    assert login.status_code == 200 and "password" in login.text
    assert "max-age" in login.headers["strict-transport-security"]
