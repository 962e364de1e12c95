"""Runs a real Postfix with its own configuration and queue in a temporary folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import wait_for
from tests.support.service import free_port

DAEMONS = (
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "verify unix - - n - 1 verify",
    "proxymap unix - - n - - proxymap",
    "smtp unix - - n - - smtp",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "discard unix - - n - - discard",
    "anvil unix - - n - 1 anvil",
    "postlog unix-dgram n - n - 1 postlogd",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "scache unix - - n - 1 scache",
    "flush unix n - n 1000? 0 flush",
    "showq unix n - n - - showq",
)


def available() -> bool:
    """Returns whether Postfix can run: its daemons have users of their own, which requires root."""
    return shutil.which("postfix") is not None and os.geteuid() == 0


class Postfix:
    def __init__(
        self, folder: Path, relayhost: str, more: Sequence[str] = (), **settings: str
    ) -> None:
        self.port = free_port()
        # Not in pytest's folder: each process of pytest that begins closes that to other users.
        folder = self.folder = Path(tempfile.mkdtemp(prefix=f"mailwake-postfix-{folder.name}-"))
        self.config, self.log = folder / "etc", folder / "log"
        queue, data = folder / "queue", folder / "data"
        for path in (self.config, queue, data):
            path.mkdir()
        folder.chmod(0o755)
        shutil.chown(data, "postfix")
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "meta_directory": "/etc/postfix",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(folder),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "myhostname": "postfix.example",
            "mydestination": "",
            "relayhost": relayhost,
            "smtp_host_lookup": "native",
            "disable_dns_lookups": "yes",
            "alias_maps": "",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "relay_domains": "",
            "local_recipient_maps": "",
            "smtp_tls_security_level": "none",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s",
            "queue_run_delay": "1s",
            "smtpd_peername_lookup": "no",
            **settings,
        }
        text = "".join(f"{name} = {value}\n" for name, value in main.items())
        (self.config / "main.cf").write_text(text)
        lines = (f"127.0.0.1:{self.port} inet n - n - - smtpd", *more, *DAEMONS)
        (self.config / "master.cf").write_text("\n".join(lines) + "\n")

    def run(self, command: str) -> None:
        done = subprocess.run(
            ["postfix", "-c", str(self.config), command], capture_output=True, check=False
        )
        log = self.log.read_text() if self.log.exists() else ""
        assert done.returncode == 0, f"{done.stderr.decode()}\n{log}"

    def wait_for(self, text: str) -> None:
        """Wait until the log contains the text."""
        wait_for(lambda: self.log.exists() and text in self.log.read_text(), text)


@contextmanager
def postfix(
    folder: Path, relayhost: str, more: Sequence[str] = (), **settings: str
) -> Iterator[Postfix]:
    """Run until the block ends; all mail goes to `relayhost`. `more` are lines of master.cf."""
    running = Postfix(folder, relayhost, more, **settings)
    running.run("start")
    try:
        yield running
    finally:
        running.run("stop")
        shutil.rmtree(running.folder, ignore_errors=True)
