"""What the service says in the terminal as it starts."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app import __version__
from app.server.bootstrap import FirstStart
from app.settings.settings import Settings


def print_banner(
    console: Console, chosen: Settings, local: str, welcome: FirstStart, is_demo: bool = False
) -> None:
    """Where the dashboard is, how to get in, and what to send mail with."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Dashboard", Text(local, style="bold cyan"))
    if welcome.code:
        login = f"{chosen.console_url}/login?code={welcome.code}"
        table.add_row("Log in", Text(login, style="bold cyan", overflow="fold"))
        table.add_row("", "works once, within 24 hours; new link: mailwake login-link")
    else:
        table.add_row("Log in", Text(f"{chosen.console_url}/login", style="bold cyan"))
        table.add_row("", "forgot the password? mailwake login-link NAME")
    if welcome.key:
        table.add_row("API key", Text(welcome.key, style="bold green"))
        table.add_row("", "shown only once; more keys: mailwake keys add NAME")
    table.add_row("API docs", Text(f"{local}/docs", style="cyan"))
    if chosen.public_url != local:
        table.add_row("Public URL", Text(chosen.public_url, style="cyan"))
    embedded = chosen.clickhouse_dsn == "chdb"
    if chosen.workers > 1:
        table.add_row("Workers", str(chosen.workers))
    table.add_row("Database", "embedded chDB" if embedded else "ClickHouse server")
    table.add_row("Data", Text(str(chosen.data_dir.resolve())))
    table.add_row("Secrets", Text(str(chosen.data_dir.resolve() / "secrets.json")))
    title = "Mailwake demo: sample traffic is running" if is_demo else f"Mailwake {__version__}"
    console.print()
    console.print(Panel(table, title=title, title_align="left", border_style="cyan", expand=False))
    console.print(Text("Press Ctrl+C to stop.", style="dim"))
    console.file.flush()
