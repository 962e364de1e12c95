"""Prints what the service shows in the terminal when it starts."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app import __version__
from app.auth import first_login
from app.server.bootstrap import FirstStart
from app.settings.settings import Settings


def print_banner(
    console: Console, settings: Settings, local: str, welcome: FirstStart, is_demo: bool = False
) -> None:
    """Print the dashboard's URL, how to log in, and how to send mail.

    Only a terminal shows the login link and the first API key. Elsewhere they are in a file of
    DATA_DIR, which the output names.
    """
    login = f"{settings.console_url}/login"
    link = f"{login}?code={welcome.code}" if welcome.code else ""
    path = None
    if not (link or welcome.key):
        first_login.remove(settings.data_dir)
    elif not console.file.isatty():
        path = first_login.write(settings.data_dir, link, welcome.key)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Dashboard", Text(local, style="bold cyan"))
    if path:
        table.add_row("First login", Text(str(path.resolve()), style="bold cyan", overflow="fold"))
        table.add_row("", "login link and API key; the file is deleted when one is used")
    elif link:
        table.add_row("Log in", "by the link below: it works once, within 24 hours")
        table.add_row("", "new link: mailwake login-link")
    else:
        table.add_row("Log in", Text(login, style="bold cyan"))
        table.add_row("", "forgot the password? mailwake login-link NAME")
    if welcome.key and not path:
        table.add_row("API key", Text(welcome.key, style="bold green"))
        table.add_row("", "shown only once; more keys: mailwake keys add NAME")
    table.add_row("API docs", Text(f"{local}/docs", style="cyan"))
    if settings.public_url != local:
        table.add_row("Public URL", Text(settings.public_url, style="cyan"))
    embedded = settings.clickhouse_dsn == "chdb"
    if settings.workers > 1:
        table.add_row("Workers", str(settings.workers))
    table.add_row("Database", "embedded chDB" if embedded else "ClickHouse server")
    table.add_row("Data", Text(str(settings.data_dir.resolve())))
    table.add_row("Secrets", Text(str(settings.data_dir.resolve() / "secrets.json")))
    title = "Mailwake demo: sample traffic is running" if is_demo else f"Mailwake {__version__}"
    console.print()
    console.print(Panel(table, title=title, title_align="left", border_style="cyan", expand=False))
    if link and not path:
        # Outside the frame and never folded, so that terminals open and copy it as a whole.
        console.print(Text(link, style="bold cyan"), soft_wrap=True)
    console.print(Text("Press Ctrl+C to stop.", style="dim"))
    console.file.flush()
