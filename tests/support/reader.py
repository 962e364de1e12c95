"""A person who reads a tracked mail: loads its pixel and follows its links, in a browser."""

from app.demo import agents
from tests.support.service import Service, paths, tracked_urls

PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}


def follow(service: Service, html: str) -> None:
    """Request every tracked URL of a mail once."""
    for path in paths(tracked_urls(html)):
        assert service.client.get(path, headers=PERSON).status_code in (200, 302)
