"""Reports of mail servers about a mail, written after RFC 3464, RFC 5965 and RFC 3834."""

from typing import NamedTuple


class Returned(NamedTuple):
    """The mail that a report is about."""

    rfc_message_id: str
    recipient: str
    ours: str = ""

    @property
    def head(self) -> str:
        ours = f"X-Mailwake-Message-ID: {self.ours}\r\n" if self.ours else ""
        theirs = f"Message-ID: <{self.rfc_message_id}>\r\n" if self.rfc_message_id else ""
        return (
            f"From: shop@shop.example\r\nTo: {self.recipient}\r\n{theirs}{ours}Subject: Boots\r\n"
        )


def _report(kind: str, human: str, machine: str, returned: Returned, headers_only: bool) -> bytes:
    original = (
        f"Content-Type: text/rfc822-headers\r\n\r\n{returned.head}"
        if headers_only
        else f"Content-Type: message/rfc822\r\n\r\n{returned.head}\r\n<p>Boots</p>\r\n"
    )
    status = "delivery-status" if kind == "delivery-status" else "feedback-report"
    return (
        "Return-Path: <>\r\n"
        "From: Mail Delivery System <MAILER-DAEMON@mta.example>\r\n"
        "To: bounces@shop.example\r\n"
        "Subject: report\r\n"
        f"Message-ID: <report.{kind}.{returned.recipient}.{hash(machine)}@mta.example>\r\n"
        "Date: Sat, 28 Nov 2026 09:00:00 +0000\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\n{human}\r\n"
        f"--b\r\nContent-Type: message/{status}\r\n\r\n{machine}\r\n"
        f"--b\r\n{original}\r\n--b--\r\n"
    ).encode()


def dsn(
    returned: Returned,
    action: str = "failed",
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 unknown",
    headers_only: bool = False,
) -> bytes:
    """A delivery status notification (RFC 3464)."""
    machine = (
        "Reporting-MTA: dns; mta.example\r\nArrival-Date: Sat, 28 Nov 2026 08:59:00 +0000\r\n\r\n"
        f"Final-Recipient: rfc822; {returned.recipient}\r\n"
        f"Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: {diagnostic}\r\n"
    )
    return _report("delivery-status", "I'm sorry.", machine, returned, headers_only)


def feedback(returned: Returned, kind: str = "abuse", names_recipient: bool = True) -> bytes:
    """A feedback report (RFC 5965)."""
    to = f"Original-Rcpt-To: <{returned.recipient}>\r\n" if names_recipient else ""
    machine = f"Feedback-Type: {kind}\r\nUser-Agent: Loop/1.0\r\nVersion: 1\r\n{to}"
    return _report("feedback-report", "A complaint.", machine, returned, False)


def reply(returned: Returned, submitted: str = "auto-replied") -> bytes:
    """An automatic reply (RFC 3834)."""
    return (
        f"From: Ann <{returned.recipient}>\r\nTo: shop@shop.example\r\n"
        f"Message-ID: <vacation.{returned.recipient}>\r\n"
        "Date: Sat, 28 Nov 2026 09:00:00 +0000\r\n"
        f"Auto-Submitted: {submitted}\r\nIn-Reply-To: <{returned.rfc_message_id}>\r\n"
        "Subject: Away\r\n\r\nI am not here.\r\n"
    ).encode()


def worded(returned: Returned) -> bytes:
    """What qmail sends: a report in words (https://cr.yp.to/proto/qsbmf.txt)."""
    return (
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mta.example\r\nTo: bounces@shop.example\r\n"
        "Date: 28 Nov 2026 09:00:00 -0000\r\nSubject: failure notice\r\n\r\n"
        "Hi. This is the qmail-send program at mta.example.\r\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n"
        f"<{returned.recipient}>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n\r\n"
        "--- Below this line is a copy of the message.\r\n\r\n"
        f"Return-Path: <shop@shop.example>\r\n{returned.head}\r\n<p>Boots</p>\r\n"
    ).encode()
