"""Why a hit must not be counted although its tokens are good. Its answer is as always."""

from collections.abc import Callable, Mapping

from app.model.records import Kind
from app.model.tracking_modes import OFF
from app.tracking.tokens import MessageToken

# Global Privacy Control (W3C), and the older Do Not Track, which some clients still send.
OBJECTIONS = ((b"sec-gpc", "gpc"), (b"dnt", "dnt"))
Refuser = Callable[[Kind, MessageToken, Mapping[bytes, bytes]], str]


def refuser(withdrawn: Callable[[str, str, int, int], bool], respect_gpc: bool) -> Refuser:
    """Gives the reason, empty where the hit may count.

    `withdrawn` is asked with kind, workspace, recipient and newsletter. Sec-GPC and DNT are about
    opens: whoever follows a link has asked for its page.
    """

    def refused(kind: Kind, token: MessageToken, headers: Mapping[bytes, bytes]) -> str:
        if kind == "open" and respect_gpc:
            for name, reason in OBJECTIONS:
                if headers.get(name) == b"1":
                    return reason
        if withdrawn(kind, token.workspace, token.recipient, token.newsletter):
            return "withdrawn"
        return "off" if token.mode(kind) == OFF else ""

    return refused
