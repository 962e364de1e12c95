import httpx2

from tests.support.service import Service


def test_the_page_shows_every_task(service: Service) -> None:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as visitor:
        assert service.login(visitor).is_redirect
        page = visitor.get("/status")
        assert page.status_code == 200
        assert 'href="/status"' in visitor.get("/settings").text
        for task in service.client.get("/healthz/full").json()["tasks"]:
            assert f'<th scope="row">{task["name"]}</th>' in page.text
