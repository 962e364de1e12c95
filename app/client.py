"""The former name of `mailwake_client`; it goes with the next version."""

import warnings

from mailwake_client import (
    Addressee,
    AssignmentOut,
    ExperimentOut,
    LineError,
    Mailwake,
    MailwakeError,
    MessageOut,
    Plan,
    Problem,
    RewriteOut,
    Share,
    TemplateOut,
    TokenOut,
)

__all__ = [
    "Addressee",
    "AssignmentOut",
    "ExperimentOut",
    "LineError",
    "Mailwake",
    "MailwakeError",
    "MessageOut",
    "Plan",
    "Problem",
    "RewriteOut",
    "Share",
    "TemplateOut",
    "TokenOut",
]

warnings.warn("import mailwake_client instead of app.client", DeprecationWarning, stacklevel=2)
