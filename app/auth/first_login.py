"""Keeps the first login link and API key in a file of DATA_DIR where no terminal shows them.

Output that is no terminal becomes a log (a container's, a unit's), which is kept, copied and read
by more people than the data folder.
"""

import re
from pathlib import Path

from app.files import write_private

FILE = "first-login.txt"
_KEY = re.compile(r"^API key: (\S+)$", re.MULTILINE)


def write(folder: Path, link: str, key: str) -> Path:
    """Write the file (0600) and return its path.

    Link or key may be empty. A key that the file has already, which nobody has used, stays in it.
    """
    path = folder / FILE
    if not key and path.exists() and (known := _KEY.search(path.read_text())):
        key = known[1]
    lines = [f"Login link: {link}"] if link else []
    lines += [f"API key: {key}"] if key else []
    lines.append("This file is deleted as soon as one of them is used.")
    write_private(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def remove(folder: Path) -> None:
    """Delete the file, if there is one."""
    (folder / FILE).unlink(missing_ok=True)
