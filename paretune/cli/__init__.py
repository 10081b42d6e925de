"""The command line: one function a command; what they need is imported when they run."""

from paretune.core import interrupts


def main() -> None:
    """Run the command line and end the process with its exit status."""
    interrupts.install()  # before the imports: a signal may come in the middle of them
    from paretune.cli.main import run

    run()


__all__ = ["main"]
