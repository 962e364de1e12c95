"""Everything that a workspace may create has a maximum, pages have a quota and leave the reserve.

The tests walk the tables of state.db and the pages that take a POST, so that no new one is
forgotten.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine, func, select

from app.auth import api_keys, devices, users
from app.auth import sessions as sessions_module
from app.auth.api_keys import Keys
from app.auth.devices import Devices
from app.auth.sessions import Sessions
from app.auth.users import Users
from app.events import followups, webhooks
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.followups import FollowUps, Rule
from app.events.webhooks import Webhooks
from app.schemas.segments import Segment
from app.settings.load import load
from app.stats import segments, signals
from app.stats.segments import SavedSegments
from app.storage.state_db import open_state
from app.storage.tables import metadata
from tests.support.patience import wait_for
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service
from tests.support.two_tenants import close, filled, pages, post, shell, visitor
from tests.support.webhook_receiver import receiver

MOST = 3
Add = Callable[[Engine, int], object]


ANN = users.User("ann", "default", "admin", account="ann")


def some_webhook(state: Engine) -> str:
    hooks = Webhooks(state)
    known = hooks.all() or [hooks.add("https://e.example/", EventFilter(), False, Cursor())]
    return known[0].id


# The module and name of the maximum, and what adds a row for `default`.
REFUSED: dict[str, tuple[object, str, Add]] = {
    "saved_segments": (
        segments,
        "MAX_SEGMENTS",
        lambda state, number: SavedSegments(state).put(f"s{number}", Segment(opened="n")),
    ),
    "followups": (
        followups,
        "MAX_FOLLOWUPS",
        lambda state, number: FollowUps(state).add(
            f"f{number}", some_webhook(state), Rule("clicked"), Cursor()
        ),
    ),
    "webhooks": (
        webhooks,
        "MAX_WEBHOOKS",
        lambda state, number: Webhooks(state).add(
            f"https://e.example/{number}", EventFilter(), False, Cursor()
        ),
    ),
    "signals": (
        signals,
        "MAX_SIGNALS",
        lambda state, number: signals.Signals(state).add("label", f"s{number}"),
    ),
    "api_keys": (
        api_keys,
        "MAX_KEYS",
        lambda state, number: Keys(state, load()).add("default", f"k{number}", ["read"], "a test"),
    ),
    "users": (
        users,
        "MAX_USERS",
        lambda state, number: Users(state).add(f"u{number}", "default", "admin"),
    ),
}
# The same for tables in which a new row takes the place of the oldest.
REPLACED: dict[str, tuple[object, str, Add]] = {
    "sessions": (
        sessions_module,
        "MAX_SESSIONS",
        lambda state, number: Sessions(state).begin(
            users.User("ann", "default", "admin", account="ann"), "x"
        ),
    ),
    "answered": (
        signals,
        "MAX_ANSWERED",
        lambda state, number: signals.Signals(state).answer(number, number, "ann"),
    ),
    "login_codes": (users, "MAX_CODES", lambda state, number: Users(state).new_code("ann")),
    "known_devices": (devices, "MAX_DEVICES", lambda state, number: Devices(state).add("ann")),
}
BOUNDED = {
    "workspaces": "only the operator's command line adds them",
    "wrong_passwords": "deleted when their back-off has passed",
    "feed": "kept for seven days",
    "deliveries": "kept for LOG_SECONDS after they are finished, made from the feed",
    "told": "of a webhook, deleted with it",
    "followed": "one row for each recipient of a follow-up, deleted with it",
    "suppressions": "one row for each recipient and newsletter: a person's decision",
    "withdrawals": "one row for each recipient and newsletter: a person's decision",
    "erasures": "one row for each recipient: a person's decision",
    "segments": "kept for MAILWAKE_KEEP_SEGMENTS_HOURS, and of at most a tenth of the journal",
    "unmatched_outcomes": "a row for a journal segment, kept for two days",
    "verifications": "kept for 90 days",
    "variants": "a maximum for each newsletter",
    "experiments": "one row for each newsletter",
    "suppression_rules": "one row for each workspace",
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(tmp_path)
    yield engine
    engine.dispose()


def count(state: Engine, table: str) -> int:
    with state.connect() as connection:
        query = select(func.count()).select_from(metadata.tables[table])
        return int(connection.execute(query).scalar_one())


def test_every_table_has_a_bound() -> None:
    assert {*REFUSED, *REPLACED, *BOUNDED} == set(metadata.tables)


@pytest.mark.parametrize("table", REFUSED)
def test_one_too_many_is_refused(
    state: Engine, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    module, maximum, add = REFUSED[table]
    monkeypatch.setattr(module, maximum, MOST)
    for number in range(MOST):
        add(state, number)
    with pytest.raises(ValueError, match=f"already {MOST}, the maximum is {MOST}"):
        add(state, MOST)
    assert count(state, table) == MOST


@pytest.mark.parametrize("table", REPLACED)
def test_the_oldest_makes_room(state: Engine, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    module, maximum, add = REPLACED[table]
    monkeypatch.setattr(module, maximum, MOST)
    Users(state).add("ann", "default", "admin")
    for number in range(MOST + 2):
        add(state, number)
        assert count(state, table) == min(number + 1, MOST)


def test_what_may_be_replaced_or_is_over_takes_no_room(
    state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_SEGMENTS", 1)
    saved = SavedSegments(state)
    saved.put("s", Segment(opened="a"))
    saved.put("s", Segment(opened="b"))
    assert saved.get("s") == Segment(opened="b")
    SavedSegments(state, "other").put("s", Segment(opened="theirs"))  # each workspace has its own
    monkeypatch.setattr(api_keys, "MAX_KEYS", 1)
    keys = Keys(state, load())
    key, _ = keys.add("default", "a", ["read"], "a test")
    keys.revoke("default", key.id)
    keys.add("default", "b", ["read"], "a test")
    keys.add("other", "c", ["read"], "a test")


# Forms by their paths, with fields that are valid. Those that store are refused below the reserve.
STORING = {
    "/access/keys": {"name": "k", "scopes": "read"},
    "/access/users": {"name": "u", "role": "viewer"},
    "/webhooks/followups": {"name": "f", "webhook_id": "{webhook_id}", "when": "clicked"},
    "/segments": {"name": "s"},
    "/webhooks": {"url": "https://e.example/"},
    "/webhooks/{webhook_id}/test": {},
    "/webhooks/{webhook_id}/replay": {},
    "/signals": {"kind": "label", "pattern": "x"},
    "/home/answered": {"recipient": "1", "until": "1"},
    "/suppression-rules": {"soft_bounces": "5"},
}
NOT_STORING = {
    "/account/password",
    "/account/sessions/end",
    "/access/keys/revoke",
    "/access/users/change",
    "/login",
    "/logout",
    "/messages",
    "/search",
    "/settings",  # a cookie
    "/newsletters/{newsletter_id:path}/recipients",
    "/recipients",
    "/recipients/{key:int}/consent",
    "/recipients/{key:int}/erase",
    "/signals/remove",
    "/suppression-rules/reset",
    "/webhooks/followups/{followup_id}/remove",
    "/webhooks/{webhook_id}/{action}",  # remove and enable; the others are named above
    "/u/{token:path}",
}


def test_forms_leave_the_reserve(tmp_path: Path) -> None:
    table = {path for method, path in pages(tmp_path / "table") if method == "POST"}
    named = {path for path in STORING if not path.endswith(("/test", "/replay"))}
    assert table - {path for path in table if path.startswith("/v1/")} == named | NOT_STORING
    data_dir = tmp_path / "data"
    with Service(data_dir) as service:
        hook = service.client.post("/v1/webhooks", json={"url": "https://e.example/"}).json()["id"]
        service.client.put("/v1/saved-segments/kept", json={"opened": "n"})
    with Service(data_dir, MAILWAKE_DISK_RESERVE_MB="1000000000") as service:
        user = visitor(service, "admin")
        for path, fields in STORING.items():
            given = {name: value.format(webhook_id=hook) for name, value in fields.items()}
            answer = post(user, filled(path, {"webhook_id": hook}), **given)
            assert answer.status_code == 507, (path, answer.status_code)
            assert "MAILWAKE_DISK_RESERVE_MB" in answer.text, path
        assert "only hits are stored" in user.get("/").text
        assert post(user, "/segments?opened=n", name="kept", forget="1").is_redirect
        assert post(user, f"/webhooks/{hook}/enable").is_redirect
        assert post(user, "/recipients", search="x").status_code == 200
        assert service.get("/v1/saved-segments")["segments"] == []
        assert post(user, f"/webhooks/{hook}/remove").is_redirect
        assert service.get("/v1/webhooks")["webhooks"] == []
        close()


def test_events_wait_below_the_reserve(tmp_path: Path) -> None:
    """No delivery is queued meanwhile, and none is missing afterwards."""
    data_dir = tmp_path / "data"
    with receiver() as there:
        with Service(data_dir, LOCAL_RECEIVERS, **WITH_HTTP) as service:
            hook = {"url": there.url, "types": ["message.opened"]}
            assert service.client.post("/v1/webhooks", json=hook).status_code == 200
            made = service.rewrite("n", "<body>x")
            pixel = made["html"][made["html"].index("/o/") :].partition('"')[0]
        reserve = {"MAILWAKE_DISK_RESERVE_MB": "1000000000"}
        with Service(data_dir, LOCAL_RECEIVERS, **WITH_HTTP, **reserve) as service:
            assert service.client.get(pixel).status_code == 200
            service.settled()
            service.wait_for(
                lambda: "webhooks are waiting: only hits are stored" in service.log.read_text(),
                "a log line",
            )
            state = open_state(data_dir)
            assert (count(state, "feed") > 0, count(state, "deliveries")) == (True, 0)
            state.dispose()
        assert not there.requests
        with Service(data_dir, LOCAL_RECEIVERS, **WITH_HTTP) as service:
            service.wait_for(lambda: there.requests, "delivery")


def test_pages_have_a_quota_for_each_workspace(tmp_path: Path) -> None:
    with Service(tmp_path / "data", MAILWAKE_QUOTA_PAGES="30") as service:
        shell(service, "workspaces", "add", "other", "http://other.example")
        users = visitor(service, "viewer"), visitor(service, "viewer", "other")

        def get(client: httpx2.Client) -> httpx2.Response:
            return client.get("/account")

        wait_for(lambda: get(users[1]).status_code == 200, "workspace")
        refused = [answer for _ in range(60) if (answer := get(users[0])).status_code == 429]
        assert len(refused) > 5
        assert 1 <= int(refused[-1].headers["retry-after"]) <= 2
        assert "30 pages a minute" in refused[-1].text
        assert get(users[1]).status_code == 200
        assert service.client.get("/v1/webhooks").status_code == 200  # the API has its own
        assert 'mailwake_quota_refused_total{quota="pages"}' in service.client.get("/metrics").text
        close()
