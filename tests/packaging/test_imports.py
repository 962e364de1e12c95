"""Imports point down only: a package imports from packages on lower lines of TIERS."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TIERS = (
    {"cli"},
    {"server"},
    {"ops", "demo", "client", "python_client"},
    {"web.api", "web.dashboard"},
    {"web", "web.views"},
    {"privacy"},
    {"smtp", "ingest"},
    {"outcomes"},
    {"messages", "events"},
    {"tracking", "stats", "auth", "consent"},
    {"experiments"},
    {"storage"},
    {"settings"},
    {"schemas"},
    {"links", "clock"},
    {"model", "rewriting", "files", "paths", "tasks", "threads", "local_socket"},
)
APART = {"__init__", "__main__"}  # the version, and the entry of `python -m app`
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "app").rglob("*.py")
    if path.stem not in APART
)


def package(module: str) -> str:
    """The longest name in TIERS that `module` (with or without `app.`) lies in."""
    parts = module.removeprefix("app.").split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(name for name in names if any(name in tier for tier in TIERS))


def tier(name: str) -> int:
    return next(number for number, tier in enumerate(TIERS) if name in tier)


def path_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def imported(module: str) -> set[str]:
    """Full names of the modules of app that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "app":
            assert node.module and not node.level
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = {name if path_of(name).exists() else node.module for name in inner}
            names |= inner - {"app"}  # __version__
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "app"}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_tiers(module: str) -> None:
    own = package(module)
    for other in imported(module):
        theirs = package(other)
        assert own == theirs or tier(own) < tier(theirs), f"{module} imports {other}"


def test_every_package_has_a_tier_and_every_tier_is_used() -> None:
    used = {package(module) for module in MODULES}
    assert used == {name for names in TIERS for name in names}


def test_the_hot_path_imports_records_tokens_and_journal_only() -> None:
    assert imported("app.tracking.middleware") == {"app.storage.journal", "app.tracking.tracker"}
    assert imported("app.server.tracking_protocol") == {
        "app.model.records",
        "app.server.connections",
        "app.storage.journal",
        "app.tracking.hit_from_request",
        "app.tracking.tracker",
    }
    assert imported("app.tracking.tracker") == {
        "app.model.hosts",
        "app.model.records",
        "app.tracking.hit_from_request",
        "app.tracking.tokens",
    }
    assert imported("app.tracking.hit_from_request") == {"app.model.records", "app.tracking.tokens"}
    assert imported("app.tracking.tokens") == set()


@pytest.mark.parametrize("name", ["rewriting", "demo", "client", "python_client"])
def test_packages_that_import_nothing_else_of_app(name: str) -> None:
    modules = [module for module in MODULES if package(module) == name]
    assert modules
    for module in modules:
        assert {package(other) for other in imported(module)} <= {name}, module
