"""Opens and migrates the state that several hosts share in one PostgreSQL database.

The tables and statements are those of state.db (tables.py). What SQLite gives by itself, one row
gives here, `state_version`: every transaction that writes changes it first. So there is one writer
at a time on all hosts, numbers of rows become visible in their order, and the row counts commits.
"""

from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)

from app.storage import state_steps
from app.storage.state_steps import VersionError, steps_after
from app.storage.tables import metadata

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 30  # a statement, and waiting for the writer
IDLE_SECONDS = 10  # in a transaction: a process that hangs must not hold up the other writers
SILENCE_SECONDS = 15  # until the server gives up a connection whose host does not answer
MIGRATING = 0x6D77_7374  # the number of the advisory lock under which hosts migrate in turn
_WROTE = "mailwake_wrote"  # in a connection's `info`: whether its transaction has counted itself

_own_metadata = MetaData()
state_version = Table(
    "state_version",
    _own_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("commits", BigInteger, nullable=False),
    Column("steps", Integer, nullable=False),  # of state_steps.py that the tables have had
)
# Work that only one host may do at a time: its holder, until when by the clock of PostgreSQL.
leases = Table(
    "leases",
    _own_metadata,
    Column("name", metadata.tables["workspaces"].c.name.type, primary_key=True),
    Column("holder", metadata.tables["workspaces"].c.name.type, nullable=False),
    Column("until", metadata.tables["workspaces"].c.at.type, nullable=False),
)
_COUNT = update(state_version).values(commits=state_version.c.commits + 1)


def url_of(dsn: str) -> URL:
    """Returns SQLAlchemy's URL of a setting `postgresql://user:password@host:port/database`."""
    return make_url(dsn).set(drivername="postgresql+psycopg")


def connect(dsn: str) -> Engine:
    """Returns an engine that has not connected yet."""
    engine = create_engine(
        url_of(dsn),
        pool_size=8,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,  # a server that was restarted is noticed before the first statement
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "mailwake",
            "keepalives_idle": SILENCE_SECONDS // 3,
            "keepalives_interval": SILENCE_SECONDS // 3,
            "keepalives_count": 2,
            "tcp_user_timeout": SILENCE_SECONDS * 1000,
        },
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, __: Any) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        limits = {
            "statement_timeout": STATEMENT_SECONDS,
            "idle_in_transaction_session_timeout": IDLE_SECONDS,
            "tcp_user_timeout": SILENCE_SECONDS,
        }
        for name, seconds in limits.items():
            connection.execute(f"SET {name} = '{seconds}s'")
        connection.autocommit = autocommit

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.info[_WROTE] = False

    @event.listens_for(engine, "before_execute")
    def _(connection: Connection, statement: Any, *_: Any) -> None:
        if getattr(statement, "is_dml", False) and not connection.info.get(_WROTE):
            connection.info[_WROTE] = True
            connection.execute(_COUNT)

    return engine


def bring_up_to_date(engine: Engine, migrate: bool) -> None:
    """Migrate in one transaction, one host at a time. Raises VersionError."""
    where = engine.url.render_as_string(hide_password=True)
    with engine.begin() as connection:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
        tables = set(inspect(connection).get_table_names())
        missing = _missing(connection, where) if state_version.name in tables else 0
        if missing and not migrate:
            raise VersionError(
                f"{where} is from an older version: run `mailwake migrate`"
                " (MAILWAKE_AUTO_MIGRATE is off)"
            )
        if not missing and tables >= {*metadata.tables, *_own_metadata.tables}:
            return
        for table, statements in state_steps.STEPS[len(state_steps.STEPS) - missing :]:
            if table in tables:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        _own_metadata.create_all(connection)
        if state_version.name not in tables:
            first = insert(state_version).values(id=1, commits=0, steps=len(state_steps.STEPS))
            connection.execute(first)
        metadata.create_all(connection)
        connection.execute(update(state_version).values(steps=len(state_steps.STEPS)))


def steps_missing(engine: Engine) -> int:
    """Returns how many steps the tables lack; 0 if there are none yet. Raises VersionError."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(state_version.name):
            return 0
        return _missing(connection, engine.url.render_as_string(hide_password=True))


def _missing(connection: Connection, where: str) -> int:
    return steps_after(where, connection.execute(select(state_version.c.steps)).scalar_one())


def commits(engine: Engine) -> int:
    """Returns how many transactions have written on all hosts. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        return int(connection.execute(select(state_version.c.commits)).scalar_one())
