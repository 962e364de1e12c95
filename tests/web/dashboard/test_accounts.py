"""The pages of who may get in, on a real service, by several people in two workspaces."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine

from app.auth.api_keys import Keys
from app.auth.login_guard import FREE_TRIES
from app.auth.users import Users
from app.demo import agents
from app.settings.load import load
from app.storage.state_db import open_state
from app.web.dashboard.forms import DEVICE, FORM, SESSION, csrf
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

PASSWORD, ANOTHER = "lanterns on the wake", "staple of horses"
ADDRESSES = count(1)


class House(Service):
    """A service, its state.db, and its visitors, each from an address of their own."""

    state: Engine
    visitors: list[httpx2.Client]

    def visitor(self, agent: str = agents.FIREFOX) -> httpx2.Client:
        address = f"192.0.2.{next(ADDRESSES)}"
        headers = {"user-agent": agent, "x-forwarded-for": address}
        client = httpx2.Client(
            base_url=self.url, trust_env=False, timeout=PATIENCE_SECONDS, headers=headers
        )
        self.visitors.append(client)
        return client

    def somebody(
        self, name: str, role: str = "viewer", workspace: str = "default", agent: str = ""
    ) -> httpx2.Client:
        """Who has come in by a link; made where there is no such user."""
        users = Users(self.state)
        if users.get(name) is None:
            users.add(name, workspace, role)
        visitor = self.visitor(agent or agents.FIREFOX)
        answer = self.enter(visitor, f"/login?code={users.new_code(name)}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        return visitor

    def send(self, visitor: httpx2.Client, page: str, path: str, **fields: str) -> httpx2.Response:
        """A form of a page."""
        return self.post(visitor, path, visitor.get(page).text, **fields)

    def sees(self, visitor: httpx2.Client) -> bool:
        return visitor.get("/account").status_code == 200


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    running = House(tmp_path_factory.mktemp("house") / "data", MAILWAKE_TRUSTED_PROXIES="127.0.0.1")
    running.visitors = []
    with running:
        running.ready()
        running.state = open_state(running.data_dir)
        yield running
        for client in running.visitors:
            client.close()


def test_the_first_password_needs_no_other_and_the_next_does(house: House) -> None:
    ann = house.somebody("ann")
    assert "No password set" in ann.get("/account").text
    for given, says in (
        ("short", "must have at least 16 characters"),
        ("passwordpassword1", "must not be one of the most common passwords"),
        ("x" * 201, "must have at most 200 characters"),
    ):
        answer = house.send(ann, "/account", "/account/password", password=given)
        assert answer.status_code == 422
        assert f"password: {says}" in answer.text
    answer = house.send(ann, "/account", "/account/password", password=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?changed=1")
    assert "Password changed" in ann.get("/account?changed=1").text
    for current in ({}, {"current": ""}, {"current": ANOTHER}):
        answer = house.send(ann, "/account", "/account/password", password=ANOTHER, **current)
        assert answer.status_code == 403
        assert "Current password is incorrect." in answer.text
    answer = house.send(ann, "/account", "/account/password", password=ANOTHER, current=PASSWORD)
    assert answer.status_code == 303
    for password, status in ((PASSWORD, 403), (ANOTHER, 303)):
        assert house.login(house.visitor(), "ann", password).status_code == status


def test_the_bar_tells_who_is_here_on_every_page(house: House) -> None:
    vera, html = house.somebody("vera", "viewer", "elsewhere"), {"accept": "text/html"}
    for path, status in (("/account", 200), ("/no-such-page", 404)):
        page = vera.get(path, headers=html)
        assert page.status_code == status
        assert "vera · elsewhere</span>" in page.text and "Log out" in page.text
        assert 'href="/access"' not in page.text
    stranger = house.visitor().get("/no-such-page", headers=html)
    assert stranger.status_code == 404 and "Log out" not in stranger.text


def test_whoever_found_a_session_cannot_guess_the_password(house: House) -> None:
    Users(house.state).add("bob", "default", "viewer", PASSWORD)
    thief = house.visitor()
    assert house.login(thief, "bob", PASSWORD).status_code == 303
    for _ in range(FREE_TRIES):
        answer = house.send(
            thief, "/account", "/account/password", password=ANOTHER, current="a guess"
        )
        assert answer.status_code == 403
    answer = house.send(thief, "/account", "/account/password", password=ANOTHER, current=PASSWORD)
    assert answer.status_code == 429 and "Too many failed logins. Try again in " in answer.text
    del thief.cookies[SESSION]
    assert house.login(thief, "bob", PASSWORD).status_code == 429  # the same tries
    assert house.login(house.visitor(), "bob", PASSWORD).status_code == 303


def test_the_password_of_a_namesake_changes_nothing(house: House) -> None:
    """Somebody with a session of one user and an account of the same name elsewhere."""
    users, own = Users(house.state), "the thief's own words"
    users.add("ines", "default", "viewer", PASSWORD)
    users.add("ines", "elsewhere", "viewer", own)
    thief = house.visitor()
    assert house.login(thief, "ines", PASSWORD).status_code == 303
    assert "Workspace: default" in thief.get("/account").text
    for _ in range(FREE_TRIES):
        answer = house.send(thief, "/account", "/account/password", password=ANOTHER, current=own)
        assert answer.status_code == 403
    answer = house.send(thief, "/account", "/account/password", password=ANOTHER, current=PASSWORD)
    assert answer.status_code == 429
    namesake = house.visitor()
    assert house.login(namesake, "ines", own).status_code == 303
    assert "Workspace: elsewhere" in namesake.get("/account").text


def test_a_namesakes_login_gives_no_further_guesses(house: House) -> None:
    users, own = Users(house.state), "the guesser's own words"
    users.add("juri", "default", "viewer", PASSWORD)
    users.add("juri", "elsewhere", "viewer", own)
    guesser = house.visitor()
    for _ in range(FREE_TRIES - 1):
        assert house.login(guesser, "juri", "a guess").status_code == 403
    assert house.login(guesser, "juri", own).status_code == 303
    guesser.cookies.clear()  # no known device
    assert house.login(guesser, "juri", "a guess").status_code == 403
    assert house.login(guesser, "juri", "a guess").status_code == 429


def test_a_login_ends_the_browsers_earlier_session(house: House) -> None:
    Users(house.state).add("rita", "default", "viewer", PASSWORD)
    browser = house.visitor()
    assert house.login(browser, "rita", PASSWORD).status_code == 303
    former = dict(browser.cookies)
    form = browser.get("/login?code=none").text  # the page, although there is a session
    assert house.post(browser, "/login", form, name="rita", password=PASSWORD).status_code == 303
    assert browser.cookies[SESSION] != former[SESSION]
    assert browser.get("/account").status_code == 200
    other = house.visitor()
    other.cookies.update(former)
    assert other.get("/account").status_code == 303


def test_a_known_device_logs_in_while_strangers_guess(house: House) -> None:
    Users(house.state).add("quinn", "default", "viewer", PASSWORD)
    known = house.visitor()
    assert house.login(known, "quinn", PASSWORD).status_code == 303
    token = known.cookies[DEVICE]
    stranger = house.visitor()
    stranger.headers["x-forwarded-for"] = known.headers["x-forwarded-for"]
    for _ in range(FREE_TRIES):
        assert house.login(stranger, "quinn", "a guess").status_code == 403
    assert DEVICE not in stranger.cookies
    assert house.login(stranger, "quinn", PASSWORD).status_code == 429
    del known.cookies[SESSION]
    assert house.login(known, "quinn", PASSWORD).status_code == 303
    assert known.cookies[DEVICE] == token  # it stays the same


def test_a_new_password_ends_other_sessions_and_what_they_watch(house: House) -> None:
    here, there = house.somebody("cleo"), house.somebody("cleo")
    with there.stream("GET", "/live") as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("data:"))
        answer = house.send(here, "/account", "/account/password", password=PASSWORD)
        assert answer.status_code == 303
        assert [line for line in lines if line.startswith("id:")] == []  # it ends
    assert house.sees(here) and not house.sees(there)
    assert there.get("/live").status_code == 401


def test_sessions_are_shown_and_ended(house: House) -> None:
    here = house.somebody("dan", agent=agents.CHROME)
    phone, other = house.somebody("dan", agent=agents.SAFARI_PHONE), house.somebody("dan")
    foreign = house.somebody("eve")
    page = here.get("/account").text
    for label in ("Chrome on Windows", "Mobile Safari on iOS", "Firefox on Windows"):
        assert f'row">{label}' in page
    ids = re.findall(r'name="session" value="(\w+)"', page)
    assert len(ids) == 2 and page.count("this one") == 1
    house.send(foreign, "/account", "/account/sessions/end", session=ids[0])  # none of theirs
    assert house.sees(phone) and house.sees(other)
    house.send(here, "/account", "/account/sessions/end", session=ids[0])
    assert house.sees(phone) != house.sees(other)
    house.send(here, "/account", "/account/sessions/end")
    assert not house.sees(phone) and not house.sees(other)
    assert house.sees(here) and house.sees(foreign)


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(house: House) -> None:
    admin = house.somebody("fay", "admin")
    for fields, says in (
        ({"name": "", "scopes": "read"}, "name: must have"),
        ({"name": "till"}, "scopes: must be one or more of"),
        ({"name": "till", "scopes": "write"}, "scopes: must be one or more of"),
    ):
        answer = house.send(admin, "/access", "/access/keys", **fields)
        assert answer.status_code == 422 and says in answer.text
    made = house.send(admin, "/access", "/access/keys", name="till", scopes="read").text
    secret = re.search(r"<code>(mw_[\w-]{32})</code>", made)
    assert secret and "It is shown only once" in made
    page = admin.get("/access").text
    assert secret[1] not in page and 'row">till<' in page
    headers = {"authorization": f"Bearer {secret[1]}"}
    assert house.client.get("/v1/newsletters", headers=headers).status_code == 200
    key_id = next(key.id for key in _keys(house).all("default") if key.name == "till")
    assert house.send(admin, "/access", "/access/keys/revoke", key=key_id).status_code == 303
    assert house.client.get("/v1/newsletters", headers=headers).status_code == 401
    assert "revoked 2" in admin.get("/access").text
    again = house.send(admin, "/access", "/access/keys/revoke", key=key_id)
    assert again.status_code == 404 and "or it was already revoked" in again.text


def test_users_are_invited_changed_and_removed(house: House) -> None:
    admin = house.somebody("gus", "admin")

    def change(**fields: str) -> httpx2.Response:
        return house.send(admin, "/access", "/access/users/change", user="hal", **fields)

    for fields, says in (
        ({"name": "", "role": "viewer"}, "name: must have"),
        ({"name": "hal", "role": "boss"}, "role: must be one of viewer, editor, admin"),
        ({"name": "gus", "role": "viewer"}, "is already taken"),
    ):
        answer = house.send(admin, "/access", "/access/users", **fields)
        assert answer.status_code == 422 and says in answer.text
    made = house.send(admin, "/access", "/access/users", name="hal", role="viewer").text
    hal = house.visitor()
    assert house.enter(hal, _link(made)).status_code == 303
    assert hal.get("/access").status_code == 403
    assert change(action="role", role="admin").status_code == 303
    assert hal.get("/access").status_code == 200
    for fields, says in (
        ({"action": "role", "role": "boss"}, "role: must be one of"),
        ({"action": "promote"}, "action: must be"),
        ({}, "action: must be"),
    ):
        answer = change(**fields)
        assert answer.status_code == 422 and says in answer.text
    assert change(action="logout").status_code == 303
    assert not house.sees(hal)
    Users(house.state).set_password("hal", PASSWORD)
    assert house.enter(hal, _link(change(action="link").text)).status_code == 303
    forgotten = house.send(hal, "/account", "/account/password", password=ANOTHER)
    assert forgotten.status_code == 303
    assert change(action="remove").status_code == 303
    assert not house.sees(hal)
    assert change(action="link").status_code == 404


def test_a_link_that_is_only_looked_at_goes_on_working(house: House) -> None:
    users = Users(house.state)
    users.add("ida", "default", "viewer")
    link = f"/login?code={users.new_code('ida')}&next=/account"
    scanner = house.visitor()
    for look in (scanner.head, scanner.get, scanner.get):
        assert look(link).status_code == 200
    assert not house.sees(scanner)
    ida = house.visitor()
    assert house.enter(ida, link).status_code == 303
    late = ida.get(link)
    assert late.status_code == 403 and "already used" in late.text
    assert "ida" not in late.text
    page = house.visitor().get("/login").text
    answer = house.post(house.visitor(), "/login", page, code="guess")
    assert answer.status_code == 403


def test_nobody_changes_their_own_access(house: House) -> None:
    admin = house.somebody("jan", "admin")
    for fields in (
        {"action": "remove"},
        {"action": "role", "role": "viewer"},
        {"action": "link"},
    ):
        answer = house.send(admin, "/access", "/access/users/change", user="jan", **fields)
        assert answer.status_code == 422
        assert "You cannot change your own access" in answer.text
    assert admin.get("/access").status_code == 200


def test_an_administrator_sees_and_changes_the_own_workspace_only(house: House) -> None:
    keys = _keys(house)
    key, secret = keys.add("default", "of-default", ["read"], "")
    house.somebody("kim")
    before = _rows(house)
    other = house.somebody("liz", "admin", "elsewhere")
    page = other.get("/access").text
    assert "of-default" not in page and "kim" not in page and "liz" in page
    for path, fields in (
        ("/access/keys/revoke", {"key": key.id}),
        ("/access/users/change", {"user": "kim", "action": "remove"}),
        ("/access/users/change", {"user": "kim", "action": "role", "role": "admin"}),
        ("/access/users/change", {"user": "kim", "action": "link"}),
    ):
        assert house.send(other, "/access", path, **fields).status_code == 404
    # Whether another workspace has the name shows nowhere.
    added = house.send(other, "/access", "/access/users", name="kim", role="admin")
    assert added.status_code == 200 and "taken" not in added.text and "default" not in added.text
    with house.state.begin() as connection:
        connection.exec_driver_sql("DELETE FROM users WHERE name = 'liz'")
        connection.exec_driver_sql("DELETE FROM users WHERE name LIKE 'kim_elsewhere'")
    assert _rows(house) == before and keys.find(secret)


FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/logout", {}),
    ("/account/password", {"password": PASSWORD}),
    ("/account/sessions/end", {}),
    ("/access/keys", {"name": "stolen", "scopes": "admin"}),
    ("/access/users", {"name": "stolen", "role": "admin"}),
    ("/access/users/change", {"user": "ned", "action": "remove"}),
)


def test_a_form_without_this_sessions_token_changes_nothing(house: House) -> None:
    admin, other = house.somebody("mia", "admin"), house.somebody("mia", "admin")
    house.somebody("ned")
    key, _ = _keys(house).add("default", "stays", ["read"], "")
    tokens: list[dict[str, str]] = [
        {},
        {"csrf": ""},
        {"csrf": "x" * 32},
        {"csrf": csrf("")},
        {"csrf": csrf(other.cookies[SESSION])},
        {"csrf": csrf(admin.cookies[FORM])},
    ]
    before = _rows(house)
    for path, fields in (*FORMS, ("/access/keys/revoke", {"key": key.id})):
        for token in tokens:
            answer = admin.post(path, data={**fields, **token})
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), path
        right = {**fields, "csrf": csrf(admin.cookies[SESSION])}
        multipart = {name: (None, value) for name, value in right.items()}
        assert admin.post(path, files=multipart).status_code == 403
        assert admin.post(path, json=right).status_code == 403
        assert admin.post(path, data=right, headers={"origin": "null"}).status_code == 403
    assert _rows(house) == before
    page = admin.post("/account/sessions/end")
    assert page.status_code == 403 and "Nothing was changed" in page.text
    html = {"accept": "text/html", "origin": "https://evil.example"}
    page = admin.post("/account/sessions/end", headers=html)
    assert page.status_code == 403 and "<h1>Form not accepted</h1>" in page.text
    admin.cookies.clear()
    ended = admin.post("/account/password", data={"password": PASSWORD})
    assert ended.headers["location"] == "/login?next=%2F"  # there is nothing to go back to


def test_behind_https_cookies_are_this_hosts_alone(house: House) -> None:
    users = Users(house.state)
    users.add("olga", "default", "viewer", PASSWORD)
    visitor = house.visitor()
    https = {"x-forwarded-proto": "https"}
    page = visitor.get("/login", headers=https)
    name, _, value = page.headers["set-cookie"].partition(";")[0].partition("=")
    assert name == f"__Host-{FORM}"
    form = {"csrf": csrf(value), "name": "olga", "password": PASSWORD}
    answer = visitor.post("/login", data=form, headers={**https, "cookie": f"{name}={value}"})
    assert answer.status_code == 303
    set_ = answer.headers["set-cookie"]
    name, _, value = set_.partition(";")[0].partition("=")
    assert name == f"__Host-{SESSION}"
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(set_.split("; "))
    for sent, status in ((f"{name}={value}", 200), (f"{SESSION}={value}", 303)):
        assert visitor.get("/account", headers={**https, "cookie": sent}).status_code == status
    assert "strict-transport-security" in answer.headers


def _keys(house: House) -> Keys:
    return Keys(
        house.state, load(data_dir=Path(house.data_dir), secret_keys="a key that signs nothing")
    )


def _link(page: str) -> str:
    found = re.search(r"<code>(http\S+)</code>", page)
    assert found, page
    return found[1].replace("&amp;", "&")


def _rows(house: House) -> list[object]:
    """Everybody and every key and session, without when they were last used."""
    with house.state.connect() as connection:
        return [
            connection.exec_driver_sql(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
            for table, columns in (
                ("users", "name, role, password"),
                ("sessions", "id, user"),
                ("api_keys", "id, revoked"),
            )
        ]
