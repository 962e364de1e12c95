import random
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from app.demo import agents
from app.paths import resource
from app.web.dashboard.forms import FORM, SESSION, csrf
from app.web.views.urls import asset
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        yield client


def login(service: Service, visitor: httpx2.Client) -> httpx2.Response:
    return service.login(visitor)


@pytest.mark.parametrize("path", ["/", "/newsletters/x", "/newsletters/x?show=all"])
def test_nothing_is_shown_before_login_and_the_way_back_is_kept(
    visitor: httpx2.Client, path: str
) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2F")


@pytest.mark.parametrize("path", ["/live", "/home/live", "/newsletters/x/live?show=all"])
def test_a_stream_before_login_is_refused(visitor: httpx2.Client, path: str) -> None:
    answer = visitor.get(path)
    assert (answer.status_code, answer.text) == (401, "")


def test_login_leads_back_but_never_to_another_site(
    service: Service, visitor: httpx2.Client
) -> None:
    back = service.login(visitor, onward="/newsletters/x")
    assert (back.status_code, back.headers["location"]) == (303, "/newsletters/x")
    for foreign in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"):
        visitor.cookies.clear()
        answer = service.login(visitor, onward=foreign)
        assert answer.headers["location"] == "/"


def test_the_session_cookie_is_out_of_reach_for_scripts(
    service: Service, visitor: httpx2.Client
) -> None:
    cookie = login(service, visitor).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie


def test_a_form_from_another_site_is_refused(service: Service, visitor: httpx2.Client) -> None:
    login(service, visitor)
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
    ):
        for path in ("/login", "/logout"):
            token = {"csrf": csrf(visitor.cookies[SESSION if path == "/logout" else FORM])}
            answer = visitor.post(path, data=token, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


def test_a_wrong_password_is_told(service: Service, visitor: httpx2.Client) -> None:
    for name, password in (("admin", "wrong"), ("nobody", service.password)):
        answer = service.login(visitor, name, password)
        assert answer.status_code == 403
        assert "Wrong name or password" in answer.text and f'value="{name}"' in answer.text


def test_pages_carry_a_strict_policy(service: Service, visitor: httpx2.Client) -> None:
    login(service, visitor)
    for path in ("/", "/login", "/newsletters/no-such"):
        policy = visitor.get(path, follow_redirects=True).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_an_unknown_newsletter_is_a_page_with_404(service: Service, visitor: httpx2.Client) -> None:
    login(service, visitor)
    answer = visitor.get("/newsletters/no-such")
    assert answer.status_code == 404
    assert "no-such" in answer.text


def test_static_files_are_kept_for_good_under_their_hash(visitor: httpx2.Client) -> None:
    answer = visitor.get(asset("app.css"))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert visitor.get("/static/app.css").headers["cache-control"] == "no-cache"


def test_templates_carry_nothing_that_the_policy_forbids() -> None:
    for path in (resource("static").parent / "app" / "templates").rglob("*.html"):
        if path.name == "report.html":  # a mail, under a policy of its own
            continue
        text = Path(path).read_text()
        assert " style=" not in text, path
        assert "<style" not in text, path
        assert " onclick=" not in text, path
        assert "{% autoescape false" not in text and "| safe" not in text, path


def test_page_api_and_report_say_the_same(service: Service, visitor: httpx2.Client) -> None:
    rng = random.Random(6)
    seen_by = [agents.CHROME, agents.SAFARI_PHONE, agents.GMAIL_PROXY, agents.BARRACUDA, "curl/8"]
    html = "".join(f'<a href="https://example.com/{n}">link {n}</a>' for n in range(4))
    login(service, visitor)
    for number in range(25):
        answer = service.rewrite("agreed", html, f"{number}@example.com")
        for path in paths(tracked_urls(answer["html"])):
            if rng.random() < 0.5:
                service.client.get(path, headers={"user-agent": rng.choice(seen_by)})
        if number % 8 == 0:
            service.drained()
    service.drained()
    service.wait_for(lambda: settled(service), "settling")
    stats = service.stats("agreed")
    links = service.get("/v1/newsletters/agreed/links")["links"]
    for show in ("human", "machine", "all"):
        page = visitor.get("/newsletters/agreed", params={"show": show}).text

        def shown(name: str, page: str = page) -> int:
            found = re.search(rf'id="{name}">([\d,]+)<', page)
            assert found, name
            return int(found[1].replace(",", ""))

        assert shown("messages") == stats["messages"] == 25
        for kind, unique, total in (
            ("opens", "opens", "open-hits"),
            ("clicks", "clicks", "click-hits"),
        ):
            assert shown(unique) == stats[kind][show]["unique"]
            assert shown(total) == stats[kind][show]["total"]
        for link in links:
            row = page.partition(f'id="link-{link["id"]}"')[2].partition("</tr>")[0]
            cells = [int(cell) for cell in re.findall(r'<td class="n">(?:<a [^>]+>)?(\d+)<', row)]
            assert cells == [link[show]["unique"], link[show]["total"]]
    report = visitor.get("/newsletters/agreed/report").text
    for kind in ("opens", "clicks"):
        assert f">{stats[kind]['human']['unique']}</span>" in report


def settled(service: Service) -> bool:
    """Whether what was loaded has been judged together."""
    return not list((service.data_dir / "journal").glob("*.done"))


PERIODS: tuple[dict[str, str], ...] = (
    {},
    {"period": "today"},
    {"period": "24h", "compare": "1"},
    {"period": "7d"},
    {"period": "30d", "compare": "1"},
    {"period": "90d"},
    {"period": "365d", "compare": "1"},
    {"from": "2026-01-01", "to": "2027-12-31", "compare": "1"},
    {"period": "custom", "from": "2026-10-25", "to": ""},
)
WRONG = {
    "period": {"period": "9d"},
    "from": {"period": "custom", "from": "yesterday"},
    "to": {"from": "2026-11-24", "to": "2026-11-23"},
    "compare": {"period": "7d", "compare": "maybe"},
}


def test_every_page_with_figures_has_the_same_periods(
    service: Service, visitor: httpx2.Client
) -> None:
    login(service, visitor)
    service.rewrite({"id": "spans", "tags": ["spans"]}, "<p>x</p>", "spans@example.com")
    service.drained()
    people = visitor.get("/newsletters/spans/recipients").text
    person = re.findall(r"/recipients/(\d+)", people)[0]
    pages = (
        "/",
        "/newsletters",
        "/tags",
        "/compare?newsletter=spans",
        "/recipients",
        f"/recipients/{person}",
        "/newsletters/spans",
        "/newsletters/spans/recipients",
        "/newsletters/spans/clickmap",
    )
    streams = ("/live", "/tags/live", "/home/live", "/newsletters/spans/live")
    others = ("/newsletters/spans/report", "/newsletters/spans/export")
    for path in (*pages, *others):
        join = "&" if "?" in path else "?"
        for query in PERIODS:
            answer = visitor.get(f"{path}{join}{urlencode(query)}")
            assert answer.status_code == 200, (path, query)
            if path in pages:
                assert 'name="from"' in answer.text and 'name="period"' in answer.text, path
    for path in (*pages, *others, *streams):
        join = "&" if "?" in path else "?"
        for name, query in WRONG.items():
            answer = visitor.get(f"{path}{join}{urlencode(query)}")
            assert answer.status_code == 422, (path, query)
            assert f"The URL parameter {name} must" in answer.text
