"""Files that are replaced whole."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write through a new 0600 file and a rename, so that no reader sees half of it."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
