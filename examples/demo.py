"""The demo: searches ``examples/tone.yaml``, then prints the program that runs the package."""

from __future__ import annotations

import sys
from pathlib import Path

from paretune.cli.main import call
from paretune.core import interrupts

HERE = Path(__file__).resolve().parent
STUDY = Path("studies") / "tone"


def main() -> int:
    """Search (which prints where the report and the package are), and print that program."""
    interrupts.install()  # SIGTERM ends it as Ctrl-C does
    status = call(["search", str(HERE / "tone.yaml"), "--study", str(STUDY)])
    program = STUDY / "best" / "sample.py"
    if status == 0 and program.is_file():
        print(f"\n--- {program} ---\n{program.read_text(encoding='utf-8')}")
    return status


if __name__ == "__main__":
    sys.exit(main())
