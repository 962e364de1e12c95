"""Measures the rewriter's speed as ratios.

They are against pytracking (lxml), 1 MB against 10 MB, and the share of whole messages' rewriting
that their check takes. Against pytracking each mail has a ratio of its own, of the shortest times
of some rounds. Both get a mail and return one: Mailwake reads every link, signs those it tracks,
puts in a recipient's token and checks the outcome.

`python -m tests.bench.rewrite` prints them; pytracking[html] and the folder of real mail are used
if they exist.
"""

import base64
import importlib.util
import quopri
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from statistics import median
from typing import Any

import pytest

from app.messages.prepare import _edits
from app.rewriting import mime, proof, transfer_encodings, unsubscribe_links, urls
from app.rewriting.html import CompiledBody, Link, Options, RewriteError, compile_html
from app.rewriting.mime import Edit, Leaf
from app.rewriting.proof import Change
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from tests.support.paths import SHARED

US = "https://t.example"
LINK = b'<td style="padding:12px"><a href="https://shop.example/p/%d?id=1&amp;c=2">Offer</a></td>\n'
FILLER = b'<p style="margin:0 0 16px;font:16px/24px sans-serif">A day in the hills, and home.</p>\n'
ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "8bit": bytes,
    "quoted-printable": quopri.encodestring,
    "base64": base64.encodebytes,
}
TOKENS = Tokens(["a signing key for the bench, of no use elsewhere"])
# Caches of URLs and labels of earlier mails.
CACHES: Sequence[Any] = (
    urls.split_url,
    urls._domain,
    urls._host,
    unsubscribe_links._in_label,
    TOKENS.link,
)
HOSTILE: dict[str, bytes] = {
    "tags": b"<p>",
    "text": b"Hello ",
    "open tags": b"<a ",
    "unclosed hrefs": b"<a href=x ",
    "quotes": b'<a href="',
    "comments": b"<!-- x -->",
    "unclosed comments": b"<!--",
    "conditions": b"<!--[if mso]>",
    "conditions' starts": b"<!--[if ",
    "links in comments": b"<!-- <a href=x>",
    "attributes": b" a=b",
    "bodies": b"</body>",
    "links": b'<a href="http://x.example/">x</a>',
}


def best(work: Callable[[], object], times: int = 5) -> float:
    """Returns the shortest of some runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def each(work: Callable[[bytes], object], mails: list[bytes]) -> None:
    """Do the work for each mail; without results, so that memory is reused."""
    for mail in mails:
        work(mail)


def compiled(html: bytes) -> CompiledBody:
    return compile_html(html, Options(), lambda link: f"L{link.index}", US, None)


def rewritten(html: bytes) -> bytes:
    """Rewrite a mail for one recipient: links signed, outcome checked.

    The check is that of whole messages, of which this is the body; adapt_html has none either.
    """

    def sign(link: Link) -> str:
        return TOKENS.link(LinkToken(1, link.index, link.target))

    token = TOKENS.message(MessageToken(bytes(16), 1, 2)).encode("ascii")
    done = compile_html(html, Options(), sign, US, None)
    result = done.personalise(token)
    edits = list(_edits(done, token, token))
    ending = b"\r\n" if html[: html.find(b"\n") + 1].endswith(b"\r\n") else b"\n"
    patches = list(transfer_encodings.body("8bit", html, ending).patches(edits))
    change = Change(0, len(html), html, edits, patches, "8bit", "8bit", ending, ())
    proof.flaw(html, result, [change])
    return result


def mail_of_50_kb() -> bytes:
    """Returns a mail of 50 KB with 30 links."""
    links = b"".join(LINK % number for number in range(30))
    filler = FILLER * ((50_000 - len(links)) // len(FILLER))
    return b"<html><body>" + filler + links + b"</body></html>"


def corpus() -> list[bytes]:
    shared = SHARED
    return [path.read_bytes() for path in sorted((shared / "corpus").rglob("*.html"))]


def run() -> None:
    """Print everything in one run."""
    mails, mail = corpus(), mail_of_50_kb()
    ours = best(lambda: each(compiled, mails))
    size = sum(map(len, mails)) / 1e6
    print(f"compile, {len(mails)} real mails, {size:.1f} MB: {ours * 1e3:.0f} ms")
    ready = compiled(mail)
    whom = MessageToken(bytes(16), 1, 2)

    def personalise() -> None:
        for _ in range(1000):
            ready.personalise(TOKENS.message(whom).encode("ascii"))

    share = best(personalise) / 1000
    print(f"compile, 50 KB with 30 links: {best(lambda: compiled(mail)) * 1e3:.2f} ms")
    print(f"sign and personalise it: {share * 1e6:.1f} us a recipient")
    fill(mail, TOKENS)
    if importlib.util.find_spec("pytracking") and importlib.util.find_spec("lxml"):
        against_pytracking(mails, mail, share)
    else:
        print("pytracking[html] is not installed: no comparison")
    for encoding in ENCODED:
        print(f"check of {encoding:17}{checked(encoding, mails or [mail])}")
    for name, piece in HOSTILE.items():
        print(f"{name:18}{hostile(piece)}")


def checked(encoding: str, mails: Sequence[bytes]) -> str:
    """Returns the check's share of rewriting whole messages in a transfer encoding."""
    head = f"Content-Type: text/html\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    raws = [ENCODED[encoding](mail.replace(b"\r\n", b"\n")) for mail in mails]
    messages = [head + raw.replace(b"\n", b"\r\n") for raw in raws]
    tokens = Tokens(["a signing key of the bench's"])
    token = tokens.message(MessageToken(bytes(16), 1, 2)).encode("ascii")
    flaw, spent = proof.flaw, 0.0

    def timed(*arguments: Any) -> str:
        nonlocal spent
        start = time.perf_counter()
        problem = flaw(*arguments)
        spent += time.perf_counter() - start
        return problem

    def edits(leaf: Leaf, body: bytes) -> Sequence[Edit]:
        def sign(link: Link) -> str:
            return tokens.link(LinkToken(1, link.index, link.target))

        return list(_edits(compile_html(body, Options(), sign, US, leaf.charset), token, token))

    shares = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proof, "flaw", timed)
        for _ in range(7):
            spent, start = 0.0, time.perf_counter()
            unedited = [mime.rewrite(message, edits).unchanged for message in messages]
            shares.append(spent / (time.perf_counter() - start - spent))
    count = sum(map(len, unedited))
    return f"{100 * median(shares):.1f} % of the rewriting; {count} left unchanged"


def fill(mail: bytes, tokens: Tokens) -> None:
    """Fill the merge fields of a mail's links and text for one more recipient."""
    html = mail.replace(b"?id=1", b"?id={{ id }}").replace(b"A day", b"{{ name }}, a day", 20)
    ready = compile_html(html, Options(), lambda _: "L", US, "utf-8")
    numbers = count()

    def sign(link: Link) -> str:
        return tokens.link(LinkToken(1, link.index, link.target))

    def filled() -> None:
        for number in islice(numbers, 100):
            values = {"id": str(number), "name": "Ann & Bob"}
            ready.filled(values, sign).personalise(b"M" * 60)

    share = best(filled) / 100
    print(f"fill 20 merge fields and 30 personal links, sign these: {share * 1e6:.0f} us")


def against_pytracking(mails: list[bytes], mail: bytes, share: float) -> None:
    from cryptography.fernet import Fernet
    from pytracking.html import adapt_html

    urls_of_theirs = {"base_open_tracking_url": f"{US}/o/", "base_click_tracking_url": f"{US}/c/"}
    key = Fernet.generate_key()

    def adapt(mail: bytes) -> str:
        adapted: str = adapt_html(mail, {"id": 1}, **urls_of_theirs)
        return adapted

    def adapt_signed(mail: bytes) -> str:  # Fernet tokens have an HMAC
        adapted: str = adapt_html(mail, {"id": 1}, **urls_of_theirs, encryption_bytestring_key=key)
        return adapted

    accepted = [mail for mail in mails if _works(adapt, mail)]
    if accepted:
        print(
            f"against adapt_html, {len(accepted)} mails ({len(mails) - len(accepted)} it refuses):"
        )
        for what, work, theirs_of in (
            ("compiled", compiled, adapt),
            ("signed and checked", rewritten, adapt),
            ("signed and checked, against signed links there", rewritten, adapt_signed),
        ):
            fast, slow = in_turn((work, theirs_of), accepted)
            ratio = median(there / here for here, there in zip(fast, slow, strict=True))
            total = sum(slow) / sum(fast)
            print(f"  {what}: {ratio:.2f} times as fast in the median, {total:.2f} in all")
    theirs = best(lambda: adapt(mail))
    print(f"a recipient: {theirs * 1e6:.0f} us there, {theirs / share:.0f} times as long")


def _works(adapt: Callable[[bytes], object], mail: bytes) -> bool:
    try:
        adapt(mail)
    except Exception:
        return False
    return True


def in_turn(
    works: Sequence[Callable[[bytes], object]], mails: Sequence[bytes]
) -> list[list[float]]:
    """Returns the shortest time of each work for each mail, of rounds in which each gets all mails.

    Caches are cleared between rounds, so a mail is as new as the first of its kind.
    """
    shortest = [[float("inf")] * len(mails) for _ in works]
    for _ in range(9):
        for times, work in zip(shortest, works, strict=True):
            for cache in CACHES:
                cache.cache_clear()
            for number, mail in enumerate(mails):
                start = time.perf_counter()
                work(mail)
                times[number] = min(times[number], time.perf_counter() - start)
    return shortest


def hostile(piece: bytes) -> str:
    """Returns seconds for 1 MB and 10 MB, and their ratio unless a limit stops it."""
    taken, refused = [], ""
    for size in (1_000_000, 10_000_000):
        html = piece * (size // len(piece))
        start = time.perf_counter()
        try:
            compiled(html)
        except RewriteError as error:
            refused = f"  refused: {error}"
        taken.append(time.perf_counter() - start)
    return f"{taken[0]:6.3f} s {taken[1]:6.3f} s {taken[1] / taken[0]:6.1f}x{refused}"


if __name__ == "__main__":
    run()
