"""The checks of `mailwake doctor`: each one says what is wrong and how to fix it.

They read only, and open nothing that a running service holds.
"""

from collections.abc import Callable, Iterator

from app.ops.doctor import clickhouse, data_dir, service, settings
from app.ops.doctor.finding import Finding
from app.settings.settings import Settings

__all__ = ["CHECKS", "Finding", "examine"]

Check = Callable[[Settings], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *settings.CHECKS,
    *data_dir.CHECKS,
    *service.CHECKS,
    *clickhouse.CHECKS,
)


def examine(configuration: Settings) -> Iterator[Finding]:
    """Yields every check's findings; a check that breaks is one itself."""
    for check in CHECKS:
        try:
            yield from check(configuration)
        except Exception as error:
            yield Finding(check.__name__, "error", f"check failed: {error}")
