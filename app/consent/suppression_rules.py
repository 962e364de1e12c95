"""Keeps which outcomes suppress a recipient: the settings' rules, or a workspace's own."""

from typing import NamedTuple

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.settings.settings import Settings
from app.storage.tables import suppression_rules


class SuppressionRules(NamedTuple):
    """What suppresses: permanent bounces, complaints, and so many temporary bounces in a row.

    With `soft_bounces` 0 temporary bounces never do.
    """

    bounces: bool = True
    complaints: bool = True
    soft_bounces: int = 5

    @staticmethod
    def of(settings: Settings) -> "SuppressionRules":
        """Returns the rules of the settings, which apply where a workspace has none."""
        suppresses = settings.suppress_outcomes
        soft_bounces = settings.suppress_soft_bounces if suppresses else 0
        return SuppressionRules(suppresses, suppresses, soft_bounces)


class WorkspaceRules:
    """The rules of all workspaces; `default` applies where a workspace has none. Blocking."""

    def __init__(self, engine: Engine, default: SuppressionRules) -> None:
        self._engine, self.default = engine, default

    def own(self, workspace: str) -> SuppressionRules | None:
        """Returns a workspace's own rules, or None."""
        table = suppression_rules.c
        query = select(table.bounces, table.complaints, table.soft_bounces)
        with self._engine.connect() as connection:
            row = connection.execute(query.where(table.workspace == workspace)).first()
        return SuppressionRules(*row) if row else None

    def of(self, workspace: str) -> SuppressionRules:
        """Returns the rules that apply to a workspace. Raises SQLAlchemyError."""
        return self.own(workspace) or self.default

    def put(self, workspace: str, rules: SuppressionRules) -> None:
        """Give a workspace its own rules; they apply to what is loaded from now on."""
        values = rules._asdict()
        with self._engine.begin() as connection:
            connection.execute(
                insert(suppression_rules)
                .values(workspace=workspace, **values)
                .on_conflict_do_update(index_elements=["workspace"], set_=values)
            )

    def reset(self, workspace: str) -> None:
        """Apply the default to a workspace again."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(suppression_rules).where(suppression_rules.c.workspace == workspace)
            )
