"""The page of suppression rules, as a browser without scripts and a keyboard use it."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

PAGE, API = "/suppression-rules", "/v1/suppression-rules"
DEFAULT = {"bounces": True, "complaints": True, "soft_bounces": 5, "is_default": True}


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        yield client


def checked(page: str) -> dict[str, bool]:
    """Which boxes of the form are ticked."""
    return {name: bool(rest) for name, rest in re.findall(r'name="(\w+)"( checked)?>', page)}


def test_admins_change_the_rules(service: Service, visitor: httpx2.Client) -> None:
    assert f'href="{PAGE}"' in visitor.get("/settings").text
    form = visitor.get(PAGE).text
    assert checked(form) == {"bounces": True, "complaints": True} and 'value="5"' in form
    assert "Default of this service" in form and "Use the default" not in form
    answer = service.post(visitor, PAGE, form, complaints="on", soft_bounces="0")
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    own = {"bounces": False, "complaints": True, "soft_bounces": 0, "is_default": False}
    assert service.get(API) == own
    page = visitor.get(PAGE).text
    assert checked(page) == {"bounces": False, "complaints": True} and 'value="0"' in page
    assert "Own rules of this workspace" in page
    assert "bounces, complaints, 5 temporary bounces in a row" in page  # the default
    answer = service.post(visitor, f"{PAGE}/reset", page)
    assert (answer.status_code, service.get(API)) == (303, DEFAULT)


@pytest.mark.parametrize("number", ["101", "-1", "1.5", "", "many", "9" * 4000])
def test_a_wrong_number_changes_nothing(
    service: Service, visitor: httpx2.Client, number: str
) -> None:
    answer = service.post(visitor, PAGE, visitor.get(PAGE).text, soft_bounces=number)
    assert answer.status_code == 422 and "soft_bounces: " in answer.text
    assert checked(answer.text) == {"bounces": False, "complaints": False}  # as they were sent
    assert service.get(API) == DEFAULT


def test_a_form_of_another_session_changes_nothing(
    service: Service, visitor: httpx2.Client
) -> None:
    answer = visitor.post(PAGE, data={"csrf": "0" * 32, "soft_bounces": "1"})
    assert answer.status_code == 403
    assert service.get(API) == DEFAULT
