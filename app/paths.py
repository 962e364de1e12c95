"""Folders that are part of the distribution."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent  # the package app


def resource(name: str) -> Path:
    """Folder `static`, `clickhouse` or `docs`: beside `app` in a checkout, inside it in a wheel."""
    beside = ROOT.parent / name
    return beside if beside.is_dir() else ROOT / name
