"""Counts what becomes of Olive configurations: whole, refused and for what, crashed.

    python benchmarks/olive_coverage.py FOLDER

Every ``.json``, ``.yaml`` and ``.yml`` file below ``FOLDER`` that names an ``input_model`` is
translated; nothing of it runs. A refusal is counted once for each of its reasons, with the values
in them left out, and once by whether a pass of Olive's has no counterpart here. Writes
``benchmarks/out/olive_coverage.json``.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections import Counter
from pathlib import Path

from common import save, table

from paretune.config.olive import Status, translate
from paretune.config.olive.source import read_source
from paretune.core.errors import ParetuneError

SHOWN = 40


def reason_of(why: str) -> str:
    """Return a reason without the values that differ from file to file."""
    return re.sub(r"found .*", "found ...", re.sub(r"\. Did you mean.*", "", why))


def main() -> int:
    """Count; the exit status is 1 if one crashed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="also print the files that are whole")
    args = parser.parse_args()
    ends: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    whole, crashed = [], []
    for file in sorted(args.folder.rglob("*")):
        if file.suffix not in (".json", ".yaml", ".yml") or not file.is_file():
            continue
        name = file.relative_to(args.folder).as_posix()
        try:
            text = file.read_text(encoding="utf-8")
            if "input_model" not in text:
                continue
            found = translate(read_source(text, name))
        except (UnicodeDecodeError, ParetuneError) as error:
            ends["no Olive configuration"] += 1
            reasons[reason_of(str(error).splitlines()[0].removeprefix(name))] += 1
            continue
        except Exception:  # what this script is there to find
            ends["crashed"] += 1
            crashed.append(name)
            traceback.print_exc()
            continue
        wrong = found.of(Status.UNSUPPORTED)
        if not wrong:
            ends["whole"] += 1
            whole.append(name)
            continue
        missing_pass = any("paretune has no pass" in str(e.why) for e in wrong)
        ends["refused, a pass is missing" if missing_pass else "refused for something else"] += 1
        told = {reason_of(str(entry.why)) for entry in wrong}
        reasons.update(told)
        if len(told) == 1:
            alone.update(told)
    print(table(("what became of it", "files"), sorted(ends.items())))
    rows = [(why, n, alone[why] or None) for why, n in reasons.most_common(SHOWN)]
    print("\n" + table(("reason", "files", "where it is the only one"), rows))
    if args.list:
        print("\n".join(whole))
    content = {"files": ends.total(), "ends": ends, "reasons": reasons, "alone": alone}
    print(f"\nwrote {save('olive_coverage', {**content, 'whole': whole, 'crashed': crashed})}")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
