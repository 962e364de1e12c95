"""In and out of the dashboard: by name and password, or by a link that works once."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.auth import first_login
from app.auth.devices import DEVICE_SECONDS
from app.auth.login_guard import LoginGuard, ThrottledError
from app.auth.users import ADMIN, User, Users
from app.ingest.user_agents import browser
from app.web.dashboard.cookies import cookie, drop_cookie, set_cookie
from app.web.dashboard.forms import (
    DEVICE,
    FORM,
    SESSION,
    StaleFormError,
    check_form,
    local_path,
    new_secret,
    read_form,
)
from app.web.dashboard.pages import Dashboard, field

OLD_LINK = "This login link was already used or has expired."


class LoginPages:
    """The pages for users who are not logged in."""

    def __init__(
        self, dashboard: Dashboard, users: Users, login_guard: LoginGuard, data_dir: Path
    ) -> None:
        self._dashboard, self._users = dashboard, users
        self._login_guard, self._data_dir = login_guard, data_dir

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        return (
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self._dashboard.requires_login(self.logout), methods=["POST"]),
        )

    async def login(self, request: Request) -> Response:
        """Log in by name and password, or by one-time code (?code=), which only a form uses up.

        So nothing is lost when a mail scanner or a chat's preview opens the link first.
        """
        onward = local_path(request.query_params.get("next", "/"))
        if request.method == "POST":
            try:
                await check_form(request, cookie(request, FORM))
            except StaleFormError:
                problem = "This form has expired. Please try again."
                return self._page(request, 403, onward, problem=problem)
            form = await read_form(request)
            if "code" in form:
                return await self._by_code(request, str(form["code"]), onward)
            return await self._by_password(request, form, onward)
        if code := request.query_params.get("code"):
            user = await asyncio.to_thread(self._users.of_code, code)
            if user is None:
                return self._page(request, 403, onward, problem=OLD_LINK)
            return self._page(request, 200, onward, invited=user, code=code)
        if await asyncio.to_thread(self._dashboard.sessions.find, cookie(request, SESSION)):
            return RedirectResponse(onward, 303)
        return self._page(request, 200, onward)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        session = request.state.session
        await asyncio.to_thread(self._dashboard.sessions.end, session.user.account, session.id)
        response = RedirectResponse("/login", 303, {"clear-site-data": '"cache", "storage"'})
        drop_cookie(request, response, SESSION)
        return response

    async def _by_code(self, request: Request, code: str, onward: str) -> Response:
        user = await asyncio.to_thread(self._users.by_code, code)
        if user is None:
            return self._page(request, 403, onward, problem=OLD_LINK)
        return await self._enter(request, user, onward, True)

    async def _by_password(self, request: Request, form: FormData, onward: str) -> Response:
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        address = request.client.host if request.client else ""
        try:
            device = cookie(request, DEVICE)
            user = await self._login_guard.check(name, password, address, device)
        except ThrottledError as error:
            return self._page(request, 429, onward, problem=error.message, name=name)
        if user is None:
            problem = "Wrong name or password."
            return self._page(request, 403, onward, problem=problem, name=name)
        return await self._enter(request, user, onward)

    async def _enter(
        self, request: Request, user: User, onward: str, by_link: bool = False
    ) -> Response:
        """Begin a session; the one that the browser had before ends."""
        if former := await self._dashboard.load_session(request):
            end = self._dashboard.sessions.end
            await asyncio.to_thread(end, former.user.account, former.id)
        if user.name == ADMIN:
            first_login.remove(self._data_dir)
        sessions, label = self._dashboard.sessions, browser(request)
        token = await asyncio.to_thread(sessions.begin, user, label, by_link)
        response = RedirectResponse(onward, 303, {"cache-control": "no-store"})
        set_cookie(request, response, SESSION, token)
        remember = self._login_guard.remember
        if device := await asyncio.to_thread(remember, user, cookie(request, DEVICE)):
            set_cookie(request, response, DEVICE, device, DEVICE_SECONDS)
        return response

    def _page(self, request: Request, status: int, onward: str, **more: object) -> Response:
        secret = cookie(request, FORM) or new_secret()
        page = {"csrf": partial(field, secret), "onward": onward, **more}
        response = self._dashboard.page(request, "login.html", page, status)
        set_cookie(request, response, FORM, secret, None)
        return response
