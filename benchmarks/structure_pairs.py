"""How far builds of one structure differ in speed: python benchmarks/structure_pairs.py.

Five models that differ in the values of their weights only (SmolLM2 with an adapter of other
random values merged into each) are built in int4, int8 and fp32 by the project's passes. All builds
of a precision must have the same structure digest. Then they are measured in rounds: in each round
every build runs twice, each time in a new process, in random order, with a short generation. So a
round gives the ratios of all pairs of builds and, beside them, the ratio of two processes of one
build.

Printed is, for each of the 30 pairs of builds, the median ratio over the rounds and the 95 %
interval of the mean, and then what a single round shows: the spread of pairs of builds against that
of pairs of processes of one build. If the two agree, a value that is taken over is as good as one
that another process measured.

Every round is saved. The same command continues a run that was ended, and an artifact is removed as
soon as its precision is measured. ``--small`` does the same with a tiny model in seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from common import OUT, ROOT, save, table

from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Job, JobStatus, Limits, Measure
from paretune.core.measurement import by_metric
from paretune.core.model import Model
from paretune.core.packages import RUNTIMES
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.models.structure import structure_of
from paretune.registry import find_pass
from paretune.runtimes.package import lay_out
from paretune.stats.intervals import student_t
from paretune.targets.launchers.local import LocalTarget

PRECISIONS = ("int4", "int8", "fp32")
METRICS = ("decode_ms_p50", "ttft_ms_p50")
SEEDS = (1, 2, 3, 4, 5)
_SECONDS = 0.6
"""Of sampling in each process."""
Round = dict[str, list[dict[str, float]]]
"""Seed to what its two processes measured, by metric."""


def parent(base: Model, seed: int, folder: Path) -> Model:
    """Return the base with an adapter of random values merged in."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    if not (folder / "merged" / "config.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        config = LoraConfig(r=4, lora_alpha=1, target_modules=names, init_lora_weights=False)
        adapted = get_peft_model(network, config)
        adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
        apply("merge", {}, open_model(folder / "adapter", base.path), folder / "merged")
    return open_model(folder / "merged")


def apply(name: str, params: dict[str, Any], model: Model, out: Path) -> None:
    """Run one of the project's passes; its output appears whole or not at all."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pass_ = find_pass(name)
    with tempfile.TemporaryDirectory(dir=part.parent) as scratch:
        context = Context(part, Path(scratch), DataCatalog({}, Path.cwd()))
        pass_.run(model, pass_.Params(**params), context)
    part.rename(out)


def builds(base: Model, precision: str, work: Path) -> dict[str, Model]:
    """Return the builds of one precision by their seeds; those that are there are not built.

    Raises:
        SystemExit: They are not of one structure.
    """
    found = {}
    for seed in SEEDS:
        out = work / precision / str(seed)
        if not out.is_dir():
            model = parent(base, seed, work / f"parent{seed}")
            apply("genai", {"precision": precision}, model, out)
            print(f"built {precision} of parent {seed}", flush=True)
        found[str(seed)] = open_model(out)
    if len({model.digest for model in found.values()}) < len(found):
        raise SystemExit(f"{precision}: two builds are the same")
    if len({structure_of(model) for model in found.values()}) > 1:
        raise SystemExit(f"{precision}: the builds are not of one structure")
    return found


def one_round(
    target: LocalTarget, packages: dict[str, Model], runtime: RuntimeSettings, draw: random.Random
) -> Round:
    """Measure each build in two new processes, in random order."""
    order = [seed for seed in packages for _ in range(2)]
    draw.shuffle(order)
    found: Round = {seed: [] for seed in packages}
    for seed in order:
        task = Measure(
            model=packages[seed],
            runtime=runtime,
            evaluator="generation",
            params={"prompt_tokens": 64, "new_tokens": 32},
            seconds=_SECONDS,
            block=True,
            data=DataCatalog({}, Path.cwd()).to_json(),
        )
        result = target.submit(Job(task, Limits(seconds=600.0))).result()
        if result.status is not JobStatus.OK:
            raise SystemExit(f"build {seed}: {result.status}: {result.reason}")
        measured = by_metric(result.value)
        found[seed].append({name: float(measured[name].value or math.nan) for name in METRICS})
    return found


def ratios(rounds: list[Round], a: str, b: str, metric: str) -> list[float]:
    """Return the logarithm of the ratio of two builds in each round, by their first processes."""
    return [math.log(one[a][0][metric] / one[b][0][metric]) for one in rounds]


def ratios_of_processes(rounds: list[Round], metric: str) -> list[float]:
    """Return the same of two processes of one build."""
    return [math.log(two[0][metric] / two[1][metric]) for one in rounds for two in one.values()]


def rows(name: str, rounds: list[Round]) -> Iterator[dict[str, Any]]:
    """Yield what is known of each pair of builds."""
    for metric in METRICS:
        for a, b in combinations(sorted(rounds[0]), 2):
            logs = ratios(rounds, a, b, metric)
            middle = statistics.fmean(logs)
            half = student_t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
            yield {
                "builds": name,
                "metric": metric,
                "pair": f"{a}/{b}",
                "ratio": math.exp(statistics.median(logs)),
                "low": math.exp(middle - half),
                "high": math.exp(middle + half),
                "rms": rms(logs),
            }


def rms(logs: list[float]) -> float:
    """Return the root of the mean square."""
    return math.sqrt(statistics.fmean(x * x for x in logs))


def summary(name: str, rounds: list[Round]) -> Iterator[dict[str, Any]]:
    """Yield, by metric, what pairs of builds and pairs of processes differ by in one round."""
    for metric in METRICS:
        pairs = list(combinations(sorted(rounds[0]), 2))
        logs = [x for a, b in pairs for x in ratios(rounds, a, b, metric)]
        same = ratios_of_processes(rounds, metric)
        means = [statistics.fmean(ratios(rounds, a, b, metric)) for a, b in pairs]
        yield {
            "builds": name,
            "metric": metric,
            "rounds": len(rounds),
            "of_builds": rms(logs),
            "of_processes": rms(same),
            "largest_of_builds": math.expm1(max(map(abs, logs))),
            "largest_of_processes": math.expm1(max(map(abs, same))),
            "largest_mean_of_a_pair": math.expm1(max(map(abs, means))),
        }


def tiny(folder: Path) -> Model:
    """Return a model of a second, for a check of this script."""
    sys.path.insert(0, str(ROOT))
    from tests.tiny_models import make_tiny_llama

    place = folder / "tiny"
    return open_model(place if place.is_dir() else make_tiny_llama(place))


def main() -> None:
    """Build, measure, print the tables, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="a tiny model, to check this script")
    parser.add_argument("--work", type=Path, help="where builds and rounds are kept meanwhile")
    given = parser.parse_args()
    name = "structure_pairs_small" if given.small else "structure_pairs"
    work: Path = given.work or OUT / f"{name}.work"
    work.mkdir(parents=True, exist_ok=True)
    base = tiny(work) if given.small else open_model(ROOT / ".models" / "smollm2")
    runtime, draw = RuntimeSettings("cpu", given.threads), random.Random(0)
    measured: dict[str, list[Round]] = {}
    with LocalTarget() as target:
        target.preload(RUNTIMES)
        for precision in PRECISIONS:
            kept = work / f"{precision}-{given.threads}.json"
            rounds: list[Round] = json.loads(kept.read_text()) if kept.is_file() else []
            if len(rounds) < given.rounds:
                found = builds(base, precision, work)
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    packages = {
                        seed: lay_out(model, runtime, Path(folder, seed), link=True)
                        for seed, model in found.items()
                    }
                    if not rounds:  # the first round warms up
                        one_round(target, packages, runtime, draw)
                    while len(rounds) < given.rounds:
                        rounds.append(one_round(target, packages, runtime, draw))
                        kept.write_text(json.dumps(rounds))
                        print(f"{precision}: round {len(rounds)} of {given.rounds}", flush=True)
            shutil.rmtree(work / precision, ignore_errors=True)
            measured[precision] = rounds
    pairs = [row for key, rounds in measured.items() for row in rows(key, rounds)]
    whole = [row for key, rounds in measured.items() for row in summary(key, rounds)]
    print(table(list(pairs[0]), [list(row.values()) for row in pairs]), "\n")
    print(table(list(whole[0]), [list(row.values()) for row in whole]), "\n")
    content = {"threads": given.threads, "pairs": pairs, "summary": whole, "rounds": measured}
    print(save(name, content))
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
