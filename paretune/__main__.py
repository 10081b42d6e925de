"""``python -m paretune``: the command line, where the script is not on the path."""

from paretune.cli import main

main()
