"""The command line: one function per command; what a command needs is imported when it runs."""

from paretune.core import interrupts


def main() -> None:
    """Run the command line and end the process with its exit status."""
    interrupts.install()  # before the imports: a signal may come in the middle of them
    from paretune.cli.main import run

    run()


__all__ = ["main"]
