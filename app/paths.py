"""Finds folders that are part of the distribution."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent  # the package app


def resource(name: str) -> Path:
    """Returns the folder `static`, `clickhouse` or `docs`.

    It is next to `app` in a checkout, and inside it in a wheel.
    """
    in_checkout = ROOT.parent / name
    return in_checkout if in_checkout.is_dir() else ROOT / name
