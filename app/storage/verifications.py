"""Keeps the results of verifications in state.db, for health checks, metrics and doctor."""

import time

import msgspec
from sqlalchemy import Engine, delete, insert, select

from app.schemas.verification import Verification
from app.storage.tables import verifications

KEPT_SECONDS = 90 * 86_400.0


class Verifications:
    """The results of one data folder. Blocking."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, result: Verification, nightly: bool = False) -> None:
        """Keep a result."""
        with self._engine.begin() as connection:
            connection.execute(
                insert(verifications).values(
                    at=result.at, nightly=nightly, report=msgspec.json.encode(result)
                )
            )
            old = verifications.c.at < time.time() - KEPT_SECONDS
            connection.execute(delete(verifications).where(old))

    def latest(self, nightly: bool | None = None) -> Verification | None:
        """Returns the last result: of a night, of another comparison, or of any."""
        query = select(verifications.c.report).order_by(verifications.c.id.desc()).limit(1)
        if nightly is not None:
            query = query.where(verifications.c.nightly == nightly)
        with self._engine.connect() as connection:
            report = connection.execute(query).scalar()
        return msgspec.json.decode(report, type=Verification) if report else None

    def nightly_due(self, since: float) -> bool:
        """Returns whether no night's result is from `since` (seconds since 1970 UTC) or later."""
        latest = self.latest(nightly=True)
        return latest is None or latest.at < since
