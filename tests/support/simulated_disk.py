"""What of a folder is left by a power failure, which may take all that was not synced.

A file's content is on the disk up to its last fsync or fdatasync; of what follows any beginning may
be. A folder's names are on the disk as of its last fsync. What became of each file since then may
be there up to any step, independently of other files; only a rename happens wholly or not at all.
"""

import os
import random
import stat
from collections.abc import Mapping
from pathlib import Path

Names = Mapping[str, int]  # inodes by name


class SimulatedDisk:
    """One folder without subfolders. `shadow` is an empty folder on the same file system."""

    def __init__(self, folder: Path, shadow: Path) -> None:
        self._folder, self._shadow = folder, shadow
        self._synced: dict[int, bytes] = {}  # by inode
        self._history: list[Names] = [{}]  # the names on the disk, and after each step since

    def changed(self) -> None:
        """Note that names changed."""
        if self._folder.exists():
            names = self._names()
            if names != self._history[-1]:
                self._history.append(names)

    def synced(self, fd: int) -> None:
        """Note that a file or the folder was synced."""
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path == self._folder:
            self._history = [self._names()]
        elif path.parent == self._folder and path.exists():
            self._keep(path)
            self._synced[os.fstat(fd).st_ino] = path.read_bytes()

    def fail(self, chance: random.Random) -> None:
        """Leave in the folder what a power failure may leave."""
        self.changed()
        contents: dict[int, bytes] = {}
        left: dict[str, bytes] = {}
        for group in self._groups():
            names = chance.choice(self._history)
            for name in sorted(group & names.keys()):
                inode = names[name]
                if inode not in contents:
                    contents[inode] = self._content(inode, chance)
                left[name] = contents[inode]
        for folder in (self._folder, self._shadow):
            for path in folder.iterdir():
                _unlink(path)
        for name, content in left.items():
            (self._folder / name).write_bytes(content)
        self.restart()

    def restart(self) -> None:
        """All that is in the folder is on the disk."""
        self._history, self._synced = [{}], {}
        for path in self._folder.iterdir():
            self._synced[path.stat().st_ino] = path.read_bytes()
        self._history = [self._names()]

    def _names(self) -> Names:
        names: dict[str, int] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.endswith(".lock"):  # their content is nothing
                    names[entry.name] = entry.inode()
        for name in names:
            self._keep(self._folder / name)
        return names

    def _keep(self, path: Path) -> None:
        """Prevent the reuse of a file's inode, and its loss, when it is deleted."""
        found = path.stat()
        kept = self._shadow / str(found.st_ino)
        if stat.S_ISREG(found.st_mode) and not kept.exists():
            _link(path, kept)

    def _groups(self) -> list[set[str]]:
        """Returns the names that changed together: those that one file had, or had in turn."""
        groups: list[set[str]] = []
        inodes: dict[int, set[str]] = {}
        for names in self._history:
            for name, inode in names.items():
                inodes.setdefault(inode, set()).add(name)
        for together in inodes.values():
            linked = [group for group in groups if group & together]
            groups = [group for group in groups if not group & together]
            groups.append(together.union(*linked))
        return sorted(groups, key=min)

    def _content(self, inode: int, chance: random.Random) -> bytes:
        written = (self._shadow / str(inode)).read_bytes()
        synced = self._synced.get(inode, b"")
        if not written.startswith(synced):  # it was cut off, or written anew
            return chance.choice([synced, written])
        return written[: chance.randint(len(synced), len(written))]


_link, _unlink = os.link, os.unlink  # the world replaces link and Path.unlink
