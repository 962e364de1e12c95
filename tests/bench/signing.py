"""Measures DKIM signatures a second, next to dkimpy's, in CPU time, sides in turn."""

import time
from collections.abc import Callable

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.smtp.dkim_signer import DkimSigner
from tests.bench import size
from tests.bench.rewrite import mail_of_50_kb

ROUNDS = size("ROUNDS", 5, 1)
SECONDS = size("MILLISECONDS", 500, 1) / 1000  # of CPU for each side of a round
HEAD = (
    b"From: News <news@shop.example>\r\nTo: ann@example.com\r\nSubject: The news\r\n"
    b"Date: Sat, 28 Nov 2026 06:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n"
)


def rate(sign: Callable[[], object]) -> float:
    """Signatures a second of CPU."""
    count, start = 0, time.process_time()
    while (took := time.process_time() - start) < SECONDS:
        sign()
        count += 1
    return count / took


def main() -> None:
    """Print the best rate of each side, and the ratio, for a short and a long mail."""
    compare("1 KB", HEAD + b"<p>Hello, hello.</p>\r\n" * 45)
    compare("50 KB", HEAD + mail_of_50_kb().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def compare(size: str, mail: bytes) -> None:
    """Print the rates for one mail."""
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    rsa = DkimSigner(pem, "shop.example", "sel")
    seed = Ed25519PrivateKey.generate()
    ed25519 = DkimSigner(
        seed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "shop.example", "sel"
    )

    def dkimpy() -> object:
        relaxed = (b"relaxed", b"relaxed")
        return dkim.sign(mail, b"sel", b"shop.example", pem, canonicalize=relaxed)

    sides: dict[str, Callable[[], object]] = {
        "dkimpy, RSA 2048": dkimpy,
        "Mailwake, RSA 2048": lambda: rsa.field(mail),
        "Mailwake, Ed25519": lambda: ed25519.field(mail),
    }
    best = dict.fromkeys(sides, 0.0)
    for _ in range(ROUNDS):
        for name, sign in sides.items():
            best[name] = max(best[name], rate(sign))
    for name, value in best.items():
        ratio = value / best["dkimpy, RSA 2048"]
        print(f"{size} {name}: {value:,.0f} signatures/s of CPU, {ratio:.1f} of dkimpy")


if __name__ == "__main__":
    main()
