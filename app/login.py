"""In and out of the dashboard: by name and password, or by a link that works once."""

import asyncio
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.access import (
    FORM,
    SESSION,
    Throttle,
    ThrottledError,
    browser,
    check_form,
    cookie,
    drop_cookie,
    local_path,
    new_secret,
    set_cookie,
)
from app.dashboard import Dashboard, field
from app.users import User, Users

TOGETHER = 2  # passwords checked at a time: each takes 64 MiB


class Login:
    """The pages for who is not logged in."""

    def __init__(self, dashboard: Dashboard, users: Users) -> None:
        self._dashboard, self._users = dashboard, users
        self._throttle = Throttle()
        self._checking = asyncio.Semaphore(TOGETHER)

    @property
    def routes(self) -> Sequence[Route]:
        """For the application's router."""
        return (
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self._dashboard.inside(self.logout), methods=["POST"]),
        )

    async def login(self, request: Request) -> Response:
        """By name and password (POST) or by one-time code (GET ?code=)."""
        onward = local_path(request.query_params.get("next", "/"))
        if request.method == "POST":
            return await self._by_password(request, onward)
        if code := request.query_params.get("code"):
            user = await asyncio.to_thread(self._users.by_code, code)
            if user:
                return await self._enter(request, user, onward)
            told = "That link was used before, or it is older than a day."
            return self._page(request, told, 403)
        if await asyncio.to_thread(self._dashboard.sessions.find, cookie(request, SESSION)):
            return RedirectResponse(onward, 303)
        return self._page(request, "", 200)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        session = request.state.session
        await asyncio.to_thread(self._dashboard.sessions.end, session.user.name, session.id)
        response = RedirectResponse("/login", 303)
        drop_cookie(request, response, SESSION)
        return response

    async def _by_password(self, request: Request, onward: str) -> Response:
        await check_form(request, cookie(request, FORM))
        form = await request.form()
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        address = request.client.host if request.client else ""
        try:
            async with self._checking:
                self._throttle.check(address, name)
                user = await asyncio.to_thread(self._users.by_password, name, password[:1024])
                if user is None:
                    self._throttle.wrong(address, name)
        except ThrottledError as error:
            told = f"Too many tries. Wait {error.seconds} seconds."
            return self._page(request, told, 429, name)
        if user is None:
            return self._page(request, "Name and password do not match.", 403, name)
        self._throttle.right(address, name)
        return await self._enter(request, user, onward)

    async def _enter(self, request: Request, user: User, onward: str) -> Response:
        """A new session, whatever the browser had before."""
        token = await asyncio.to_thread(self._dashboard.sessions.begin, user, browser(request))
        response = RedirectResponse(onward, 303, {"cache-control": "no-store"})
        set_cookie(request, response, SESSION, token)
        return response

    def _page(self, request: Request, problem: str, status: int, name: str = "") -> Response:
        secret = cookie(request, FORM) or new_secret()
        page = {"problem": problem, "name": name, "csrf": partial(field, secret)}
        response = self._dashboard.page(request, "login.html", page, status)
        set_cookie(request, response, FORM, secret, None)
        return response
