"""Installs a lock file into the environment that runs this, and shows how far it is.

`python docs/tools/install.py requirements.lock`: pip alone is either silent for a minute or prints
hundreds of lines. Needs nothing but Python, since nothing else is installed yet. With `--link` it
also makes this folder importable and writes the command `mailwake`: pip needs build tools for that.
"""

import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
LOCKED = ["--no-deps", "--require-hashes", "--progress-bar", "off"]  # the lock is complete
STEPS = ("Collecting ", "Requirement already satisfied: ")  # how pip begins a package's line
PLAIN_EVERY = 10  # packages between two lines where lines cannot be overwritten


def main() -> None:
    """Install the lock file that the command line names; exits with pip's code if it fails."""
    lock, *options = sys.argv[1:]
    if code := install(Path(lock)):
        sys.exit(code)
    if options == ["--link"]:
        link(Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("scripts")))


def install(lock: Path) -> int:
    """Install one lock file. Returns pip's exit code; if it fails, its output has been shown."""
    total = packages_in(lock.read_text())
    print(f"Installing {total} packages of {lock.name} into {sys.prefix}", flush=True)
    output: list[str] = []
    begun, name = 0, ""
    process = subprocess.Popen(
        [*PIP, *LOCKED, "-r", str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout
    for line in process.stdout:
        output.append(line)
        if line.startswith(STEPS):
            begun += 1
            name = line.removeprefix(STEPS[0]).removeprefix(STEPS[1]).split(" ")[0]
            show(f"  {begun} of {total}: {name}", always=begun % PLAIN_EVERY == 0)
        elif size := size_of(line):
            show(f"  {begun} of {total}: {name}, {size}", always="MB" in size)
        elif line.startswith("Installing collected packages"):
            show(f"  unpacking {line.count(',') + 1} packages", always=True)
    code = process.wait()
    show("")
    if code:
        print("".join(output), file=sys.stderr)
    return code


def link(packages: Path, commands: Path) -> None:
    """Make ROOT importable, and write the command `mailwake`."""
    (packages / "mailwake.pth").write_text(f"{ROOT}\n{ROOT / 'app' / 'python_client'}\n")
    command = commands / "mailwake"
    program = shlex.quote(str(commands / "python"))  # a `#!` line has no quotes, and a limit
    command.write_text(f'#!/bin/sh\nexec {program} -P -m app "$@"\n')
    command.chmod(0o755)


def packages_in(text: str) -> int:
    """Returns the number of packages of a lock file; those of other platforms count, too."""
    return sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines())


def size_of(line: str) -> str:
    """Returns the size that pip prints when it fetches a package, such as `181.5 MB`, or ""."""
    words = line.split()
    if words[:1] != ["Downloading"] or not line.rstrip().endswith(")"):
        return ""
    return line.rstrip().rpartition("(")[2].rstrip(")")


def show(text: str, always: bool = False) -> None:
    """Show a line of progress: in place on a terminal, elsewhere only if `always`."""
    if sys.stdout.isatty():
        print(f"\r\033[K{text[: columns() - 1]}", end="", flush=True)
    elif always:
        print(text, flush=True)


def columns() -> int:
    """Returns how long a line may be that the next one overwrites."""
    return shutil.get_terminal_size().columns


if __name__ == "__main__":
    main()
