"""Whole messages: finds the HTML and text leaves of a MIME message and splices into their bytes.

Nothing is parsed into a tree and written again. A leaf is decoded and rewritten, and what changed
is put back in its own transfer encoding; every other byte of the message stays. What is signed,
encrypted, attached, forwarded or made for calendars and AMP is left alone (RFC 1847, RFC 8551, RFC
3156, RFC 2046).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from email import policy
from email.message import Message
from typing import Literal, NamedTuple

from app.rewriting import header_fields, proof, smtp_lines, transfer_encodings
from app.rewriting.header_fields import Field, HeaderError
from app.rewriting.proof import Change
from app.rewriting.smtp_lines import LINE_LIMIT
from app.rewriting.transfer_encodings import IDENTITY, Body, Edit, Patch, TransferError

__all__ = ["Edit"]

MAX_DEPTH = 50
MAX_PARTS = 1_000  # of one message; real ones have a few
PARAMETERS = 50  # of a field that says what a body is; real ones have five
_TELLING = ("content-type", "content-transfer-encoding", "content-disposition")
_SEALED = (
    "multipart/signed",
    "multipart/encrypted",
    "application/pkcs7-mime",
    "application/x-pkcs7-mime",
)
_APART = ("multipart/report", "multipart/digest")  # no newsletters: reports of servers, and lists'
_INDENTED = re.compile(rb"[ \t]+[!-9;-~]+[ \t]*:")
_TOKEN = re.compile(r"([\w-]+)\s*(?:[;(].*)?\Z", re.DOTALL)
_SPELLINGS = {"7-bit": "7bit", "7bits": "7bit", "8-bit": "8bit", "8bits": "8bit"}
_PGP = b"-----BEGIN PGP"

# sealed: signed or encrypted. unreadable: not as its fields say, or past a limit. unproven: what
# came out was not what was meant, so the message stays as it was.
Why = Literal["sealed", "unreadable", "unproven"]


class Leaf(NamedTuple):
    """A text/html or text/plain body at bytes `start` to `end` of the message.

    `named` is where its Content-Transfer-Encoding field lies, or would; `ending` how its lines end.
    `flowed` and `delsp` are text/plain's (RFC 3676). `marks` are the boundaries around it.
    """

    kind: str
    start: int
    end: int
    encoding: str
    charset: str | None
    named: tuple[int, int] = (0, 0)
    ending: bytes = b"\r\n"
    flowed: bool = False
    delsp: bool = False
    marks: tuple[bytes, ...] = ()


class Note(NamedTuple):
    """Why something was left alone; `text` names its byte."""

    why: Why
    text: str


class Rewritten(NamedTuple):
    """`edits` are those of the raw bytes; `unchanged` has the starts of leaves without theirs."""

    message: bytes
    edits: Sequence[Edit]
    notes: Sequence[Note]
    unchanged: frozenset[int]


Rewrite = Callable[[Leaf, bytes], Sequence[Edit]]
Look = Callable[[Leaf, bytes], None]


def leaves(message: bytes) -> Sequence[Leaf]:
    """Returns the bodies that may be rewritten, in order."""
    return _Structure(message).leaves


class _Structure:
    """The leaves of a message, and notes on what is sealed or cannot be read."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._parts = 0
        self._full = False
        self.leaves: list[Leaf] = []
        self.notes: list[Note] = []
        self._part(0, len(message), ())

    def _part(
        self, start: int, end: int, marks: tuple[bytes, ...], first: bool = True, within: str = ""
    ) -> None:
        """Read a part that is the `first` or another of a multipart of the subtype `within`."""
        if self._parts == MAX_PARTS:
            if not self._full:
                self._left("unreadable", start, f"a part after the first {MAX_PARTS:,}")
            self._full = True
            return
        self._parts += 1
        if not header_fields.blank(self._message, start, end):
            return  # fields alone: what would be put in would be one of them
        try:
            head, begin = header_fields.fields(self._message, start, end)
        except HeaderError as error:
            self.notes.append(Note("unreadable", f"{error}: left unchanged"))
            return
        if _INDENTED.match(self._message, start, begin):
            # Some readers take the first line for a field in spite of that.
            self._left("unreadable", begin, "a part whose first header field is indented")
            return
        about = _about(head)
        kind = about.get_content_type()
        written = str(about.get("content-type", kind)).partition(";")[0].strip()
        if written.count("/") != 1:
            # The library reads it as text/plain, other readers as an attachment.
            self._left("unreadable", begin, f"content type {written[:40]!r}")
        elif kind in _SEALED:
            self._left("sealed", begin, kind)
        elif about.get_content_maintype() == "multipart":
            if kind not in _APART:
                self._multipart(begin, end, about, marks)
        elif kind in ("text/html", "text/plain") and not _attached(about, first, within):
            self._leaf(begin, end, head, about, marks)

    def _multipart(self, start: int, end: int, about: Message, marks: tuple[bytes, ...]) -> None:
        try:
            mark = (about.get_boundary() or "").encode("latin-1")
        except UnicodeEncodeError:
            mark = b""
        if not mark or len(marks) == MAX_DEPTH:
            why = f"nested more than {MAX_DEPTH} deep" if mark else "without a boundary"
            self._left("unreadable", start, f"{about.get_content_type()} {why}")
            return
        within = about.get_content_subtype()
        for number, (first, last) in enumerate(_parts(self._message, start, end, mark)):
            self._part(first, last, (*marks, mark), not number, within)
            if self._full:
                return

    def _left(self, why: Why, start: int, what: str) -> None:
        self.notes.append(Note(why, f"byte {start}: {what} was left unchanged"))

    def _leaf(
        self, start: int, end: int, head: Sequence[Field], about: Message, marks: tuple[bytes, ...]
    ) -> None:
        message = self._message
        blank = b"\r\n" if message[start - 2 : start] == b"\r\n" else b"\n"
        at = start - len(blank)
        ending = next((e for e in (b"\r\n", b"\n") if message.find(e, start, end) >= 0), blank)
        named = [(f.start, f.end) for f in head if f.name == "content-transfer-encoding"]
        flowed = _parameter(about, "format") == "flowed"
        delsp = flowed and _parameter(about, "delsp") == "yes"
        self.leaves.append(
            Leaf(
                about.get_content_type(),
                start,
                end,
                _encoding(about),
                about.get_content_charset(),
                named[0] if named else (at, at),
                ending,
                flowed,
                delsp,
                marks,
            )
        )


def _attached(about: Message, first: bool, within: str) -> bool:
    """Returns whether readers show a text part as an attachment (RFC 8621, section 4.1.4)."""
    if about.get_content_disposition() == "attachment":
        return True
    return not first and (within == "related" or bool(about.get_filename()))


def _encoding(about: Message) -> str:
    """Returns the transfer encoding's name; more may follow it than the RFC allows."""
    value = str(about.get("content-transfer-encoding", "")).lower()
    match = _TOKEN.match(value.strip())
    name = match[1] if match else value.strip()
    return _SPELLINGS.get(name, name)


def _parameter(about: Message, name: str) -> str:
    value = about.get_param(name, "")
    return value.strip().lower() if isinstance(value, str) else ""


def _about(head: list[Field]) -> Message:
    """Returns the fields that say what a body is, for the standard library to read.

    It takes time that grows with the square of a field's semicolons, so it gets PARAMETERS at most.
    """
    about = Message(policy.compat32)
    for field in head:
        if field.name in _TELLING and field.name not in about:
            value = field.value[: header_fields.MAX_FIELD_BYTES].split(b";", PARAMETERS)[
                :PARAMETERS
            ]
            text = b";".join(value).decode("latin-1")
            about[field.name] = re.sub(r"[\r\n]+", " ", text).strip()
    return about


def _parts(message: bytes, start: int, end: int, mark: bytes) -> Iterator[tuple[int, int]]:
    """Returns ranges of a multipart's parts (RFC 2046, 5.1.1); a missing end counts as one."""
    pattern = re.compile(rb"\n--" + re.escape(mark) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    first = -1
    position = start - 1  # the body may begin with a delimiter; a line end is always before it
    while match := pattern.search(message, position, end):
        if first >= 0:
            last = match.start()
            last -= 1 if message[last - 1 : last] == b"\r" else 0
            yield first, max(first, last)
        if match[1]:
            return
        first = match.end()
        position = first - 1 if first < end else end  # its line end may begin the next one
    if first >= 0:
        yield first, end


def rewrite(
    message: bytes, leaf_rewrite: Rewrite, fold: bool = False, look: Look | None = None
) -> Rewritten:
    """Make the edits that `leaf_rewrite` returns for each leaf's decoded bytes, in order.

    `look` is shown all of them before the first is rewritten.

    A leaf that gets a line too long for SMTP is sent as quoted-printable, with `fold` also one
    whose line was too long before and grows. The outcome is checked, and a message that fails stays
    as it was: `proof.flaw` says what is checked.
    """
    structure = _Structure(message)
    notes = structure.notes
    changes: list[Change] = []
    bodies: list[tuple[Leaf, bytes, Body]] = []
    for leaf in structure.leaves:
        raw = message[leaf.start : leaf.end]
        try:
            body = transfer_encodings.body(leaf.encoding, raw, leaf.ending)
        except TransferError as error:
            text = f"byte {leaf.start}: {leaf.kind} was left unchanged: {error}"
            notes.append(Note("unreadable", text))
            continue
        if _PGP in body.decoded.replace(b"\0", b""):  # UTF-16 too
            text = f"byte {leaf.start}: {leaf.kind} was left unchanged: it contains a PGP block"
            notes.append(Note("sealed", text))
            continue
        bodies.append((leaf, raw, body))
        if look:
            look(leaf, body.decoded)
    for leaf, raw, body in bodies:
        if edits := leaf_rewrite(leaf, body.decoded):
            changes.append(_change(leaf, raw, body, edits, fold))
    edits = [edit for change in changes for edit in change.raw_edits()]
    result = transfer_encodings.applied(message, edits)
    if flaw := proof.flaw(message, result, changes):
        notes.append(
            Note("unproven", f"the rewritten message {flaw}: the message was left unchanged")
        )
        return Rewritten(message, (), notes, frozenset(change.start for change in changes))
    return Rewritten(result, edits, notes, frozenset())


def _change(leaf: Leaf, raw: bytes, body: Body, edits: Sequence[Edit], fold: bool) -> Change:
    encoding, field = leaf.encoding, None
    if encoding in IDENTITY and _grows(raw, new := transfer_encodings.applied(raw, edits), fold):
        encoding = "quoted-printable"
        field = Edit(*leaf.named, b"Content-Transfer-Encoding: quoted-printable" + leaf.ending)
        encoded = transfer_encodings.quoted_printable(new, leaf.ending)
        patches = [Patch(leaf.start, leaf.end, encoded, 0, len(raw), edits)]
    else:
        patches = [
            patch._replace(start=leaf.start + patch.start, end=leaf.start + patch.end)
            for patch in body.patches(edits)
        ]
    return Change(
        leaf.start,
        leaf.end,
        body.decoded,
        edits,
        patches,
        leaf.encoding,
        encoding,
        leaf.ending,
        leaf.marks,
        field,
    )


def _grows(old: bytes, new: bytes, fold: bool) -> bool:
    """Returns whether a line of `new` must be folded."""
    if not smtp_lines.has_long_line(new):
        return False
    if not smtp_lines.has_long_line(old):
        return True
    now, before = smtp_lines.line_lengths(new), smtp_lines.line_lengths(old)
    return _long(now) > _long(before) or (fold and max(now) > max(before))


def _long(lengths: Sequence[int]) -> int:
    return sum(length > LINE_LIMIT for length in lengths)
