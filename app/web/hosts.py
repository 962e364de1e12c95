"""What every answer but pixels and redirects goes through: who is asked, and safe headers."""

from collections.abc import Container, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.model.hosts import host_name, host_of_url
from app.settings.settings import Settings

HSTS = "max-age=31536000"  # seconds (RFC 6797); of this host alone
# Features of browsers that no page uses, not even one that somebody smuggles a script into.
UNUSED = (
    *("accelerometer", "autoplay", "bluetooth", "browsing-topics", "camera", "display-capture"),
    *("encrypted-media", "fullscreen", "geolocation", "gyroscope", "hid", "magnetometer"),
    *("microphone", "midi", "payment", "picture-in-picture", "screen-wake-lock", "serial", "usb"),
    *("web-share", "xr-spatial-tracking"),
)
# What an answer has where it says nothing of its own: browsers and proxies then store, run, frame
# and embed nothing of it, and give it no access to windows of other sites.
SAFE: Mapping[str, str] = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in UNUSED),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
}
FOR_RECIPIENTS = ("/u/", "/static/")  # what their pages need
HEALTH = ("/healthz", "/readyz")  # what load balancers ask


class HostRouting:
    """Workspaces' own hosts, but the one that is the dashboard's too, serve recipients only.

    `hosts` holds their names (`host_name`); it may change while the service runs.
    """

    def __init__(self, app: ASGIApp, settings: Settings, hosts: Container[bytes]) -> None:
        self._app, self._hosts = app, hosts
        urls = settings.public_url, settings.console_url
        self._console = host_of_url(settings.console_url).encode()
        self._secure = {host_of_url(url).encode() for url in urls if url.startswith("https:")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = host_name(Headers(scope=scope).get("host", "").encode("latin-1"))
        app = self._app
        recipients = host != self._console and host in self._hosts
        if (
            host
            and recipients
            and not (scope["path"].startswith(FOR_RECIPIENTS) or scope["path"] in HEALTH)
        ):
            app = PlainTextResponse("Not found\n", 404)

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                if host in self._secure or scope.get("scheme") == "https":
                    headers["strict-transport-security"] = HSTS
            await send(message)

        await app(scope, receive, safe)
