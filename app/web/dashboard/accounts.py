"""Dashboard pages about who may get in: one's own account, and for administrators everybody's."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.auth.api_keys import SCOPES, KeyNameError, Keys
from app.auth.login_guard import LoginGuard, ThrottledError
from app.auth.users import LONGEST, ROLES, User, UserError, Users
from app.model.errors import NotFoundError
from app.settings.secret_strength import SHORTEST
from app.web.dashboard.cookies import cookie
from app.web.dashboard.forms import DEVICE, read_form
from app.web.dashboard.pages import Dashboard


@dataclass(frozen=True)
class AccountPages:
    """Pages of users who are logged in; every change belongs to their own workspace."""

    dashboard: Dashboard
    users: Users
    keys: Keys
    login_guard: LoginGuard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        return (
            Route("/account", requires_login(self.account)),
            Route("/account/password", requires_login(self.password), methods=["POST"]),
            Route("/account/sessions/end", requires_login(self.end_session), methods=["POST"]),
            Route("/access", requires_login(self.access, "admin")),
            Route(
                "/access/keys", requires_login(self.add_key, "admin", stores=True), methods=["POST"]
            ),
            Route("/access/keys/revoke", requires_login(self.revoke, "admin"), methods=["POST"]),
            Route(
                "/access/users",
                requires_login(self.add_user, "admin", stores=True),
                methods=["POST"],
            ),
            Route("/access/users/change", requires_login(self.change, "admin"), methods=["POST"]),
        )

    async def account(self, request: Request) -> Response:
        """Password and sessions."""
        return await self._account(request, "", 200)

    async def password(self, request: Request) -> Response:
        """Set a new password for a user who knows the old one or came by a link.

        Other sessions end.
        """
        user, session = request.state.user, request.state.session
        form = await read_form(request)
        new_password = str(form.get("password", ""))
        if user.has_password and not session.by_link:
            address = request.client.host if request.client else ""
            try:
                current, device = str(form.get("current", "")), cookie(request, DEVICE)
                check = self.login_guard.check
                right = await check(user.name, current, address, device, user.account)
            except ThrottledError as error:
                return await self._account(request, error.message, 429)
            if right is None:
                return await self._account(request, "Current password is incorrect.", 403)
        try:
            await asyncio.to_thread(self.users.set_password, user.account, new_password, session.id)
        except UserError as error:
            return await self._account(request, str(error), 422)
        return RedirectResponse("/account?changed=1", 303)

    async def end_session(self, request: Request) -> Response:
        """End one of the user's sessions, or all but this one."""
        user, own = request.state.user, request.state.session.id
        session_id = str((await read_form(request)).get("session", ""))
        for session in await asyncio.to_thread(self.dashboard.sessions.of, user.account):
            if session.id == session_id or (not session_id and session.id != own):
                await asyncio.to_thread(self.dashboard.sessions.end, user.account, session.id)
        return RedirectResponse("/account", 303)

    async def access(self, request: Request) -> Response:
        """Show API keys and users."""
        return await self._access(request)

    async def add_key(self, request: Request) -> Response:
        """Create a key, which only this response shows."""
        user, form = request.state.user, await read_form(request)
        name, scopes = _text(form, "name"), [str(scope) for scope in form.getlist("scopes")]
        try:
            key, secret = await asyncio.to_thread(
                self.keys.add, user.workspace, name, scopes, user.name
            )
        except KeyNameError as error:
            return await self._access(request, 422, problem=str(error), given=name, chosen=scopes)
        return await self._access(request, made=key, secret=secret)

    async def revoke(self, request: Request) -> Response:
        """End a key."""
        key_id = _text(await read_form(request), "key")
        if not await asyncio.to_thread(self.keys.revoke, request.state.user.workspace, key_id):
            raise NotFoundError("key", f"there is no API key {key_id!r}, or it was already revoked")
        return RedirectResponse("/access", 303)

    async def add_user(self, request: Request) -> Response:
        """Create a user with a login link, which only this response shows."""
        form, workspace = await read_form(request), request.state.user.workspace
        name = _text(form, "name")
        try:
            user = await asyncio.to_thread(self.users.add, name, workspace, _text(form, "role"))
        except UserError as error:
            return await self._access(
                request,
                422,
                user_problem=str(error),
                user_given=name,
                role_given=_text(form, "role"),
            )
        return await self._invite(request, user)

    async def change(self, request: Request) -> Response:
        """Change a user's role, create a login link, end all sessions, or remove the user."""
        form, me = await read_form(request), request.state.user
        user = await asyncio.to_thread(self.users.get, _text(form, "user"), me.workspace)
        action = _text(form, "action")
        if user is None:
            raise NotFoundError("user", f"there is no user {_text(form, 'user')!r}")
        if user.account == me.account:
            problem = "You cannot change your own access. Ask another administrator."
            return await self._access(request, 422, user_problem=problem)
        try:
            match action:
                case "link":
                    return await self._invite(request, user)
                case "logout":
                    await asyncio.to_thread(self.dashboard.sessions.end_all, user.account)
                case "remove":
                    await asyncio.to_thread(self.users.remove, user.account)
                case "role":
                    await asyncio.to_thread(self.users.set_role, user.account, _text(form, "role"))
                case _:
                    raise UserError("action: must be link, logout, remove or role")
        except UserError as error:
            return await self._access(request, 422, user_problem=str(error))
        return RedirectResponse("/access", 303)

    async def _invite(self, request: Request, user: User) -> Response:
        code = await asyncio.to_thread(self.users.new_code, user.account)
        return await self._access(request, invited=user, code=code)

    async def _account(self, request: Request, problem: str, status: int) -> Response:
        sessions = await asyncio.to_thread(self.dashboard.sessions.of, request.state.user.account)
        page = {
            "sessions": sessions,
            "own": request.state.session,
            "problem": problem,
            "changed": "changed" in request.query_params,
            "shortest": SHORTEST,
            "longest": LONGEST,
        }
        return self.dashboard.page(request, "account.html", page, status)

    async def _access(self, request: Request, status: int = 200, **more: Any) -> Response:
        workspace = request.state.user.workspace
        page = {
            "keys": await asyncio.to_thread(self.keys.all, workspace),
            "scopes": SCOPES,
            "users": await asyncio.to_thread(self.users.all, workspace),
            "roles": ROLES,
            **more,
        }
        return self.dashboard.page(request, "access.html", page, status)


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, "")).strip()
