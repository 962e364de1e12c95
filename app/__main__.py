"""The `mailwake` command, also as `python -m app`."""

import gc


def main() -> None:
    """Run the console script.

    Imported modules stay until the end, and looking for garbage among them takes a quarter of the
    time until a command begins: the garbage collector only examines what comes later.
    """
    gc.disable()
    from app.cli.main import main as run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
