"""While PostgreSQL thinks, recipients must not wait: no request asks it on the event loop.

All routes are tried with SQLite, as with PostgreSQL, whose hanging is tried in e2e/test_hosts.py.
"""

from pathlib import Path

import httpx2

from tests.support.service import Service
from tests.support.two_tenants import Tenant, filled, operations, pages, queries

WATCHED = """
import asyncio, sys, traceback
from sqlalchemy import Engine, event
from app.threads import offload_everything

offload_everything()

@event.listens_for(Engine, "before_cursor_execute")
def look(*_):
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    own = [f"{f.filename}:{f.lineno}" for f in traceback.extract_stack() if "/app/" in f.filename]
    print("ON THE LOOP", *reversed(own[-5:]), file=sys.stderr, flush=True)
"""


def test_no_request_asks_the_state_on_the_event_loop(tmp_path: Path) -> None:
    with Service(tmp_path / "data", WATCHED) as service:
        service.ready()
        tenant = Tenant(service, "acme")
        for method, path in operations(service):
            if not path.endswith("/stream"):
                target = filled(path, tenant.ids)
                if method == "GET":
                    tenant.api.get(target, params=queries(path, tenant))
                else:
                    tenant.api.request(method, target, json={})
        ids = {**tenant.ids, "token": "x", "action": "test"}
        for method, path in pages(tmp_path / "table"):
            if path.endswith("/live"):
                continue
            if method == "GET":
                tenant.page.get(filled(path, ids), params=queries(path, tenant))
            else:
                tenant.page.post(filled(path, ids), data={})
        with httpx2.Client(base_url=service.url, trust_env=False) as stranger:
            of_nobody = {"authorization": "Bearer mw_of_nobody"}
            assert stranger.get("/v1/newsletters", headers=of_nobody).status_code == 401
        found = [line for line in service.log.read_text().splitlines() if "ON THE LOOP" in line]
        assert not found, found[:5]
