"""Kills searches at least 200 times, and shows what was lost: python benchmarks/chaos.py.

Two studies, each beside itself undisturbed: one of fakes in real child processes (store, study and
SQLite are the real ones), and one that trains, merges and builds a small model for real. Both are
killed at each durable step in turn, at its first, second or third time, and at random moments; the
whole tree of processes, with SIGKILL. After each kill the same command runs again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, save, table

sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "plugins"), str(ROOT / "tests" / "chaos")]

from fake_study import write_fake_study
from harness import AT_EACH, Chaos, Tally
from tiny_models import make_tiny_llama

_EXAMPLES = ROOT / "examples" / "data" / "tone.jsonl"


def write_fakes(folder: Path) -> Path:
    """Write a study in which prefixes are shared, and candidates fail and are stopped early."""
    return write_fake_study(
        folder,
        {},
        passes=[
            {"fake_train": {"x": [1, 2, 3]}},
            {"noop": {"quality": [0.6, 0.95], "ignored": [0, 1], "misbehave": ["", "crash"]}},
        ],
        constraints=["accuracy >= 0.9"],
        search={"strategy": "nsga2", "seed": 5, "trials": 20},
    )


def write_real(folder: Path) -> Path:
    """Write a study that trains, merges and builds a small Llama with random weights."""
    make_tiny_llama(folder / "model")
    (folder / "tone.jsonl").write_text(
        "".join(_EXAMPLES.read_text(encoding="utf-8").splitlines(keepends=True)[:80])
    )
    tuned = {"train": "tone.train", "max_steps": 2, "batch_size": 4}
    config: dict[str, Any] = {
        "model": "model",
        "data": {
            "tone": {
                "file": "tone.jsonl",
                "prompt": "{phrase}\n",
                "answer": "{tone}",
                "split": {"test": 0.3, "seed": 0},
            }
        },
        "passes": [
            {"lora": {**tuned, "r": [2, 4]}},
            "merge",
            {"genai": {"precision": ["fp32", "int8", "int4"]}},
        ],
        "baseline": [{"lora": {**tuned, "r": 4}}, "merge", {"genai": {"precision": "fp32"}}],
        "evaluate": [{name: {"data": "tone.test"}} for name in ("classification", "perplexity")],
        "target": {"threads": [1, 2]},
        "objectives": [{"minimize": "perplexity"}, {"maximize": "accuracy"}],
        "search": {"seed": 1},
    }
    file = folder / "real.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def disturb(
    kind: str,
    write: Callable[[Path], Path],
    metrics: tuple[str, ...],
    kills: int,
    rng: random.Random,
    folder: Path,
) -> tuple[Tally, int, float]:
    """Kill studies of one kind until so many kills have hit.

    Returns:
        What was seen, how many studies were searched to their end, and the seconds that a kill and
        what follows it took.
    """
    whole, studies, start = Tally(), 0, time.monotonic()
    while whole.kills.total() < kills:
        chaos = Chaos(kind, write, folder / f"{kind}{studies}", metrics)
        begun = time.monotonic()
        places = [f"{place}:{rng.randint(1, 3)}" for place in AT_EACH] + ["random"] * 6
        rng.shuffle(places)
        hit = True
        for place in places:
            if not hit or whole.kills.total() + chaos.tally.kills.total() >= kills:
                break  # it has come to its end
            if place == "random":
                hit = chaos.kill_after(rng.uniform(0.5, 12.0))
            else:
                step, _, number = place.rpartition(":")
                hit = chaos.kill_at(step, int(number))
        chaos.finish()
        studies += 1
        whole.kills += chaos.tally.kills
        whole.cut += chaos.tally.cut
        whole.kept += chaos.tally.kept
        whole.verified += chaos.tally.verified
        print(
            f"{kind} study {studies}: {chaos.tally.kills.total()} kills in "
            f"{time.monotonic() - begun:.0f} s, as if undisturbed",
            flush=True,
        )
    return whole, studies, (time.monotonic() - start) / whole.kills.total()


def main() -> None:
    """Run both, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fakes", type=int, default=140, help="kills of studies of fakes")
    parser.add_argument("--real", type=int, default=60, help="kills of studies that build")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    rows, kills, content = [], Counter[str](), {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, write, metrics, number in (
            ("fakes", write_fakes, ("accuracy", "decode_ms_p50"), given.fakes),
            ("real", write_real, ("accuracy", "perplexity"), given.real),
        ):
            if not number:
                continue
            tally, studies, each = disturb(kind, write, metrics, number, rng, Path(folder))
            kills += tally.kills
            total = tally.kills.total()
            kept, verified = tally.kept, tally.verified
            rows.append([kind, total, studies, tally.cut, kept, verified, f"{each:.1f}"])
            content[kind] = {
                "kills": dict(tally.kills),
                "studies": studies,
                "cut": tally.cut,
                "outcomes_kept": kept,
                "artifacts": verified,
            }
    # The harness ends at the first outcome or artifact that is lost, changed, doubled or damaged.
    print(
        table(
            (
                "study",
                "kills",
                "studies, each as if undisturbed",
                "candidates cut in flight",
                "outcomes found again",
                "artifacts verified",
                "s a kill",
            ),
            rows,
        )
    )
    print()
    print(table(("killed", "times"), sorted(kills.items())))
    print(save("chaos", {"kills": kills.total(), **content, "seed": given.seed}))


if __name__ == "__main__":
    main()
