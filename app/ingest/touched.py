"""Notes on disk which messages were hit, for `corrections` to classify again."""

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from app.files import sync_folder, write_private
from app.model.errors import UNREADABLE
from app.model.records import Hit
from app.storage.journal_segments import DONE

log = logging.getLogger(__name__)

PARTIAL = "corrections.tmp"


class TouchedSpan(msgspec.Struct):
    """The newsletters of a workspace in a journal segment, and when their hits were (ms)."""

    workspace: str
    newsletters: list[int]
    start: int
    end: int


def origin(folder: Path) -> int:
    """Returns the data folder's number, generated once at random from 1 to 2**32 - 1.

    It distinguishes data folders that share a database; two equal ones are too unlikely to matter.
    """
    path = folder / "origin"
    while True:
        try:
            return int(path.read_text())
        except FileNotFoundError:
            partial = folder / f"origin.{os.getpid()}.{secrets.token_hex(4)}"
            with partial.open("w") as file:
                file.write(str(1 + secrets.randbelow(2**32 - 1)))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(partial, path)  # fails where another process was first
            except FileExistsError:
                pass
            finally:
                partial.unlink()
            sync_folder(folder)


def may_change(hits: Iterable[Hit]) -> bool:
    """Returns whether corrections look at hits again.

    An open may be a scanner's, whose clicks came earlier. An unsubscribe changes nothing.
    """
    return any(hit.kind != "unsubscribe" for hit in hits)


def spans_of(hits: Iterable[Hit], counts: Callable[[list[Hit]], bool] = bool) -> list[TouchedSpan]:
    """Returns where hits are, of each workspace whose hits `counts`."""
    by_workspace: dict[str, list[Hit]] = {}
    for hit in hits:
        by_workspace.setdefault(hit.workspace, []).append(hit)
    return [
        TouchedSpan(
            workspace,
            sorted({hit.newsletter for hit in its_hits}),
            min(hit.at for hit in its_hits),
            max(hit.at for hit in its_hits),
        )
        for workspace, its_hits in by_workspace.items()
        if counts(its_hits)
    ]


def touch(folder: Path, segment_id: str, hits: Iterable[Hit]) -> None:
    """Note what a loaded journal segment touched, if verdicts may change."""
    if spans := spans_of(hits, may_change):
        note(folder, segment_id, spans)


def note(folder: Path, segment_id: str, spans: Sequence[TouchedSpan]) -> None:
    """Note where hits are to be classified again."""
    write_private(folder / (segment_id + DONE), msgspec.json.encode(spans))


def merged_spans(paths: Iterable[Path]) -> list[TouchedSpan]:
    """Returns one span for each workspace."""
    by_workspace: dict[str, TouchedSpan] = {}
    for path in paths:
        try:
            spans = msgspec.json.decode(path.read_bytes(), type=list[TouchedSpan])
        except UNREADABLE as error:  # cut off by a power loss; reclassify it
            log.error("corrections of %s are waiting: %s", path.name, error)
            continue
        for span in spans:
            known = by_workspace.setdefault(span.workspace, span)
            known.newsletters = sorted({*known.newsletters, *span.newsletters})
            known.start, known.end = min(known.start, span.start), max(known.end, span.end)
    return list(by_workspace.values())


def age_seconds(path: Path) -> float:
    """Returns the time since a note was written."""
    return time.time() - path.stat().st_mtime
