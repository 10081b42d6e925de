"""The command line: one function a command; what they need is imported when they run."""

from paretune.cli.main import main

__all__ = ["main"]
