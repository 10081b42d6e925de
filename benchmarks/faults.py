"""Runs inputs that once failed, and judges each one's output.

    python benchmarks/faults.py FOLDER [--only NAME ...]

``FOLDER`` has one folder an input: ``run.sh``, which shows what happens, and ``expected.json``:
no pattern of ``forbid`` may match the output, all of ``require`` must, and at least one of
``require_any`` if there is any. Each folder is copied, so that nothing is written where it lies.

``run.sh`` finds the command in ``PT`` and a small Llama in ``STORIES``. Where it becomes another
user (``setpriv``), the command has to be one that this user may run: if this interpreter is not, a
system interpreter of the same version takes its place. A command that could not be run at all is
wrong whatever the patterns say. A traceback of the script that ``run.sh`` itself hands to Python
(its frame is ``<stdin>``) is not paretune's, and is left out.

Output goes to ``benchmarks/out/faults/``, the verdicts to ``benchmarks/out/faults.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import OUT, ROOT, public_data, save, table

MAX_S = 900
OTHER_USER = 12345


@dataclass(frozen=True)
class Verdict:
    """How one input came out.

    Attributes:
        name: The folder's name.
        wrong: What is wrong with its output, one line each; empty: it is right.
        seconds: Wall time.
    """

    name: str
    wrong: tuple[str, ...]
    seconds: float


_OWN_SCRIPT = re.compile(
    r'Traceback \(most recent call last\):\n  File "<stdin>".*\n(?:  .*\n)*.*\n'
)


def judge(output: str, expected: dict[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with an output."""
    output = _OWN_SCRIPT.sub("", output)
    found = [f"forbidden: {p}" for p in expected["forbid"] if re.search(p, output)]
    found += [f"missing: {p}" for p in expected["require"] if not re.search(p, output)]
    any_of = expected["require_any"]
    if any_of and not any(re.search(p, output) for p in any_of):
        found.append("missing, one of: " + " | ".join(any_of))
    if re.search(r"exit status[^\n]*: 12[67]\b", output):
        found.append("the command could not be run (status 126 or 127)")
    return tuple(found)


def _may_run(command: list[str]) -> bool:
    words = ["setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", "env"]
    environment = {"PATH": os.environ["PATH"]}
    return (
        subprocess.run(
            [*words, *command, "--version"], env=environment, capture_output=True, check=False
        ).returncode
        == 0
    )


def other_users_command(folder: Path) -> Path | None:
    """Return a command that an ordinary user may run; None: there is none.

    Args:
        folder: Where it is written, readable by everyone.
    """
    own = Path(sys.executable).with_name("paretune")
    if os.geteuid() != 0 or _may_run([str(own)]):
        return own
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for place in ("/usr/bin", "/usr/local/bin"):
        python = Path(place) / version
        script = folder / "paretune"
        packages = f"{ROOT}:{sysconfig.get_path('purelib')}:{_site_packages()}"
        call = "import sys; from paretune.cli import main; sys.exit(main())"
        script.write_text(
            "#!/bin/sh\n"
            f"export PYTHONPATH='{packages}' PYTHONDONTWRITEBYTECODE=1\n"
            f"exec {python} -c '{call}' \"$@\"\n"
        )
        script.chmod(0o755)
        if python.is_file() and _may_run([str(script)]):
            return script
    return None


def _site_packages() -> Path:
    import numpy

    return Path(numpy.__file__).parents[1]


def run(folder: Path, work: Path, other: Path | None) -> Verdict:
    """Run one input in a copy of its folder.

    Args:
        folder: The input's folder.
        work: Where the copy goes.
        other: A command that an ordinary user may run.
    """
    script = (folder / "run.sh").read_text(encoding="utf-8")
    own = Path(sys.executable).with_name("paretune")
    if "setpriv" in script and other is None:
        return Verdict(folder.name, ("no paretune that another user may run",), 0.0)
    as_other = "setpriv" in script and "PTO" not in script
    copy = work / folder.name
    shutil.copytree(folder, copy)
    subprocess.run(["chmod", "-R", "u+w,a+rX", copy], check=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PARETUNE_")}
    environment = {
        **kept,
        "PT": str(other if as_other else own),
        "PY": sys.executable,
        "PTO": str(other),
        "OTHER": "",
        "STORIES": str(public_data("stories260k")),
    }
    start = time.monotonic()
    log = OUT / "faults" / f"{folder.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    wrong: tuple[str, ...] = ()
    with log.open("wb") as out:
        try:
            subprocess.run(
                ["bash", copy / "run.sh"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=MAX_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            wrong = (f"still running after {MAX_S} s",)
    seconds = time.monotonic() - start
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return Verdict(
        folder.name, (*wrong, *judge(log.read_text(errors="replace"), expected)), seconds
    )


def main() -> int:
    """Judge every folder; the exit status is 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names, or how they begin")
    args = parser.parse_args()
    folders = sorted(f.parent for f in args.folder.glob("*/expected.json"))
    if args.only:
        folders = [f for f in folders if any(f.name.startswith(name) for name in args.only)]
    if not folders:
        print(f"no input with an expected.json in {args.folder}", file=sys.stderr)
        return 2
    verdicts = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        work = Path(root)
        work.chmod(0o755)
        other = other_users_command(work)
        for folder in folders:
            verdicts.append(run(folder, work, other))
            one = verdicts[-1]
            print(f"{one.name}: {'; '.join(one.wrong) or 'right'}", file=sys.stderr, flush=True)
    rows = [
        [v.name, "**wrong**" if v.wrong else "right", v.seconds, "; ".join(v.wrong)]
        for v in verdicts
    ]
    right = sum(not v.wrong for v in verdicts)
    print(table(("input", "", "s", "what is wrong"), rows))
    print(f"\n{right} of {len(verdicts)} right")
    content = {
        "right": right,
        "of": len(verdicts),
        "inputs": [
            {"name": v.name, "right": not v.wrong, "wrong": list(v.wrong), "s": round(v.seconds, 1)}
            for v in verdicts
        ],
    }
    print(f"wrote {save('faults', content)}")
    return 0 if right == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
