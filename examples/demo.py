"""The demo: searches ``examples/tone.yaml``, then says where the answer is and how to run it."""

from __future__ import annotations

import sys
from pathlib import Path

from paretune.cli.main import call

HERE = Path(__file__).resolve().parent
STUDY = Path("studies") / "tone"


def main() -> int:
    """Search, and print the report's and the package's place and the program that runs it."""
    status = call(["search", str(HERE / "tone.yaml"), "--study", str(STUDY)])
    if (STUDY / "report.html").is_file():
        print(f"\nreport:  {STUDY / 'report.html'}  (open it in a browser)")
    package = STUDY / "best"
    if status == 0 and package.is_dir():
        print(f"package: {package}  (the model to ship; `python {package}/sample.py` runs it)\n")
        print((package / "sample.py").read_text(encoding="utf-8"))
    return status


if __name__ == "__main__":
    sys.exit(main())
