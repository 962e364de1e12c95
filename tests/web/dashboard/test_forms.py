import pytest

from app.web.dashboard.forms import csrf, local_path


def test_a_forms_token_follows_from_its_cookie_and_does_not_give_it_away() -> None:
    assert csrf("secret") == csrf("secret") != csrf("other")
    assert "secret" not in csrf("secret") and len(csrf("secret")) == 32


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/tags?x=1", "/tags?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:x", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_after_login_nobody_leaves_the_site(path: str, leads: str) -> None:
    assert local_path(path) == leads
