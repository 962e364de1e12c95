"""Names folders that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"  # of real mail, if the checkout has one next to it
