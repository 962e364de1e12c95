"""Imports point down only: what is on one line may import what is below it."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"
LAYERS = [
    {"__main__"},
    {"cli"},
    {"serving"},
    {"reclassifying", "backing_up", "greeting", "reporting", "main"},
    {"asking", "tenants", "beginning"},
    {"gateway"},
    {"transit"},
    {"copies", "relaying", "smtpd"},
    {"streams", "senders"},
    {"metrics"},
    {"actions", "accounts", "login", "rights"},
    {"tracking", "front", "api", "dashboard", "live", "unsubscribe", "reference"},
    {"sending", "figures", "upkeep", "clickmap", "streaming"},
    {
        "consent",
        "experiment_routes",
        "withdrawals",
        "hooks",
        "rules",
        "recipients",
        "subjects",
        "messages",
    },
    {"reports"},
    {"report"},
    {"templating"},
    {"ledger"},
    {"overview", "people", "exports", "compare"},
    {"dispatching", "web"},
    {"following", "erasing", "decisions"},
    {"followups", "scrubbing", "dossiers"},
    {"webhooks", "marks"},
    {"telling", "outside"},
    {"mailing"},
    {"door"},
    {"access", "throttle"},
    {"sessions"},
    {"users"},
    {"keys"},
    {"outgoing", "client", "describing", "smarthost", "workspaces"},
    {"acting"},
    {"snapshot", "backup"},
    {"link_signer"},
    {"rewrite", "mime", "loader", "schemas", "notes"},
    {"compiled"},
    {"headers", "proof"},
    {"transfer"},
    {"segments"},
    {"corrections"},
    {"feed"},
    {"erasures"},
    {"suppressing", "withdrawing", "refusing", "experiments"},
    {"queries", "link"},
    {"plain_text"},
    {"merge_fields", "preheader"},
    {"classify", "variants"},
    {
        "journal",
        "storage",
        "agents",
        "networks",
        "tokens",
        "charts",
        "catalog",
        "markup",
        "addresses",
        "state",
        "families",
        "journal_secrets",
        "significance",
    },
    {"foreign"},
    {"syntax"},
    {"migrating", "expiry", "waiting"},
    {"rekeying"},
    {"settings", "logs", "filters"},
    {"modes", "placeholders", "unsubscribe_links", "origins"},
    {"events", "visitors"},
    {"files", "secret_files", "identity", "wire"},
    {"url_patterns"},
    {"masking", "href"},
    {"charset"},
    {"iso2022"},
    {"encoding"},
    {"randomness"},
]
# Within a layer, by name.
ALONGSIDE = {("dashboard", "live")}
MODULES = sorted(path.stem for path in APP.glob("*.py") if path.stem != "__init__")


def layer(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if module in names)


def imported(module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((APP / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "app":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("app.")}
    return found & set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_below(module: str) -> None:
    for other in imported(module):
        below = layer(module) < layer(other) or (module, other) in ALONGSIDE
        assert below, f"{module} imports {other}"


def test_the_hot_path_imports_tokens_events_and_journal_only() -> None:
    assert imported("tracking") == {"tokens", "events", "journal"}
