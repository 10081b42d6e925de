"""A larger study on the tutorial's data, and what each shortcut of the engine saves.

    python benchmarks/phrase_tone.py [--minutes 30]     the study
    python benchmarks/phrase_tone.py --ablation         the shortcuts, each turned off

The data is public (`phrase-tone`; see `common.public_data`) and split by phrase.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, candidate_table, public_data, save, table

from paretune.api import Search, optimize
from paretune.config import load
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.store.artifacts import Store
from paretune.study.folder import Study


def configuration(passes: list[Any], **changes: Any) -> dict[str, Any]:
    """Return a configuration over the tutorial's data."""
    file = public_data("phrase-tone") / "dataset-classification.json"
    return {
        "model": str(ROOT / ".models" / "smollm2"),
        "data": {
            "tone": {
                "file": str(file),
                "prompt": "### Text: {phrase}\n### The tone is:\n",
                "answer": "{tone}",
                "split": {"test": 0.3, "group": "phrase", "seed": 0},
                "limit": 500,
            }
        },
        "passes": passes,
        "evaluate": [
            {"classification": {"data": "tone.test"}},
            {"generation": {"prompt_tokens": 64, "new_tokens": 32}},
            "footprint",
        ],
        "target": {"providers": ["cpu"], "threads": [1, 2]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "constraints": ["accuracy >= baseline - 0.03", "size_mb <= 300"],
        **changes,
    }


def lora(r: Any, rate: Any) -> dict[str, Any]:
    """Return a training."""
    return {"lora": {"train": "tone.train", "r": r, "learning_rate": rate, "epochs": 1}}


LARGE = [
    lora([4, 16], [5.0e-4, 1.0e-3]),
    "merge",
    {
        "any": [
            {"genai": {"precision": "int8"}},
            {"genai": {"precision": "int8", "is_symmetric": False, "block_size": [32, 128]}},
            {"genai": {"precision": "int4", "block_size": [32, 64, 128]}},
            {"genai": {"precision": "int4", "algorithm": ["rtn", "k_quant_mixed"]}},
        ]
    },
]
BASELINE = [lora(16, 5.0e-4), "merge", {"genai": {"precision": "fp32"}}]
SMALL = [
    lora(16, 5.0e-4),
    "merge",
    {
        "any": [
            # Each with its default left out and written out: two of the four are duplicates.
            {"genai": {"precision": "int8"}},
            {"genai": {"precision": "int8", "accuracy_level": 4}},
            {"genai": {"precision": "int4"}},
            {"genai": {"precision": "int4", "block_size": 32}},
        ]
    },
]


def large(minutes: float) -> None:
    """Run the larger study."""
    config = configuration(LARGE, baseline=BASELINE, search={"time": minutes * 60})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phrase-tone.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        start = time.perf_counter()
        result = optimize(
            file,
            study=Path(folder) / "study",
            store=Path(folder) / "store",
            watcher=make_display(),
        )
        wall = time.perf_counter() - start
        results = dict(result.results)
    rows = results["candidates"]
    counts = Counter(row["outcome"] for row in rows)
    saved: Counter[str] = Counter()
    for row in rows:
        for step in row["seconds"]:
            saved[step["step"]] += step["s"] if step["cached"] else 0.0
    print(candidate_table(results))
    print(f"\n{wall:.0f} s; {len(rows)} candidates: {dict(counts)}; pick: {results['best']}")
    print(table(("step", "seconds saved by sharing"), [s for s in saved.most_common() if s[1]]))
    print(
        save(
            "phrase_tone",
            {"wall_s": wall, "outcomes": dict(counts), "saved_s": dict(saved), "results": results},
        )
    )


def ablation() -> None:
    """Search a small space with all shortcuts, and with each turned off."""
    variants: list[tuple[str, Shortcuts, bool]] = [
        ("all", Shortcuts(), True),
        ("without early rungs", Shortcuts(early_stops=False), True),
        ("without duplicate check", Shortcuts(duplicates=False), True),
        ("without shared prefixes", Shortcuts(), False),
    ]
    config = configuration(SMALL, target={"providers": ["cpu"], "threads": [2]})
    config["data"]["tone"]["limit"] = 160
    config["evaluate"][0]["classification"]["rough_examples"] = 24
    config["baseline"] = BASELINE
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        for name, shortcuts, shared in variants:
            seconds, counts = _searched(
                file, Path(folder) / name.replace(" ", "-"), shortcuts, shared
            )
            found.append((name, seconds, dict(counts)))
            print(name, f"{seconds:.0f} s", dict(counts), flush=True)
    whole = found[0][1]
    print(
        table(
            ("variant", "wall s", "ratio to all", "outcomes"),
            [(n, s, s / whole, c) for n, s, c in found],
        )
    )
    print(
        save(
            "ablation", {"variants": [{"name": n, "wall_s": s, "outcomes": c} for n, s, c in found]}
        )
    )


def _searched(
    file: Path, folder: Path, shortcuts: Shortcuts, shared: bool
) -> tuple[float, Counter[str]]:
    """Search in an empty store; without sharing, the store is emptied before each candidate."""
    prepared = PreparedSearch(load(file), Store(folder / "store"))
    study = Study(folder / "study")
    try:
        search = Search(prepared, study, make_display(quiet=True), shortcuts)
        if not shared:
            look = search.engine.look

            def forgetting(candidate: Any) -> Any:
                prepared.store.clear()
                return look(candidate)

            search.engine.look = forgetting
        start = time.perf_counter()
        search.engine.run()
        return time.perf_counter() - start, Counter(o.kind.value for o in study.outcomes)
    finally:
        prepared.target.close()
        study.close()


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description="A larger study on phrase-tone.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--ablation", action="store_true")
    arguments = parser.parse_args()
    if arguments.ablation:
        ablation()
    else:
        large(arguments.minutes)


if __name__ == "__main__":
    main()
