"""Defects 8 and 9: what Olive's cache keeps, how it is written, and what it is found by."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from olive_findings import Part
from olive_runs import (
    ACCURACY,
    FAILS,
    SLOW,
    Json,
    candidate,
    evaluation,
    evaluator,
    files_in,
    latency_judge,
    measured,
    run,
    run_fresh,
    single,
    workflow,
    workplace,
)


def cached_failures() -> list[Part]:
    """Fail once, break a write off, run twice at once, and find two candidates with one id."""
    return [_transient_failure(), _torn_entry(), _no_lock(), _colliding_ids()]


def _transient_failure() -> Part:
    plans = [measured(0.1), {**measured(0.2), **FAILS}]
    with workplace() as folder:
        run(folder, single(plans))
        again = run(folder, single(plans), trouble=False)
    has = [candidate(node) for node in again.nodes if node["metrics"]]
    observed = (
        "candidate 1 fails with ConnectionError; the same command with the cause gone ran"
        f" {again.count('pass')} passes, candidates with metrics: {has}"
    )
    shown = again.count("pass") == 0 and has == [0]
    return Part("a failed pass is cached, a transient failure too", shown, observed)


def _torn_entry() -> Part:
    """Write an entry over a whole one; what cannot be written stands for the interruption."""
    from olive.cache import OliveCache

    with workplace() as folder:
        cache = OliveCache({"cache_dir": str(folder / "cache")})
        cache.cache_model("entry", {"type": "onnxmodel", "config": {}})
        before = cache.load_model("entry")
        cache.cache_model("entry", {"type": "onnxmodel", "config": object()})
        after = cache.load_model("entry")
        size = cache.get_model_json_path("entry").stat().st_size
    observed = (
        f"a write that breaks off over a whole entry leaves {size} bytes of torn JSON under the"
        f" final name, read as {'a miss' if after is None else after}"
    )
    return Part("cache writes are not atomic", before is not None and after is None, observed)


def _no_lock() -> Part:
    with workplace() as folder:
        config = single([{**measured(0.1), **SLOW}, measured(0.2)])
        config["input_model"]["model_path"] = str(folder / "input.onnx")
        config["cache_dir"] = str(folder / "cache")
        places = [folder / name for name in ("a", "b")]
        for place in places:
            place.mkdir()
        with ThreadPoolExecutor(len(places)) as pool:
            ran = list(pool.map(lambda place: run(place, config), places))
    entered = sum("pass 0" in one.journal for one in ran)
    observed = f"two runs at once on one cache: {entered} ran the same pass into the same folder"
    return Part("the cache is not locked", entered == 2, observed)


def _colliding_ids() -> Part:
    """Find two candidates with one id among many, and search over those two."""
    probe = run_fresh(_numbers([0, 1]))
    number, other, key = _first_collision(probe.nodes[0]["parent_model_id"])
    ran = run_fresh(_numbers([number, other]))
    accuracies = [f"{node['metrics']['value'][ACCURACY]['value']:g}" for node in ran.nodes]
    observed = (
        f"of the first {other + 1} candidates of a pass, numbers {number} and {other} have the"
        f" {4 * len(key)}-bit id {key}: a search over both (accuracy = number) ran"
        f" {ran.count('pass')} pass and has {len(ran.nodes)} model, accuracy"
        f" {', '.join(accuracies)}"
    )
    return Part("ids have 32 bits", len(key) == 8 and ran.count("pass") == 1, observed)


def _numbers(numbers: Sequence[int]) -> Json:
    return workflow({"fake": {"type": "FakePass", "candidate": list(numbers)}}, evaluator())


def _first_collision(source: str) -> tuple[int, int, str]:
    """Return the first two candidates of the fake pass with one id, and the id.

    Args:
        source: The id of the model that the pass is applied to.
    """
    from olive.cache import OliveCache

    seen: dict[str, int] = {}
    with workplace() as folder:
        cache = OliveCache({"cache_dir": str(folder / "cache")})
        while True:
            number = len(seen)
            key = cache.get_output_model_id("FakePass", {"candidate": number, "plan": {}}, source)
            if key in seen:
                return seen[key], number, key
            seen[key] = number


def cache_keys() -> list[Part]:
    """Measure a latency with all cores and again with one; look at what the keys are made of."""
    return [_latency_from_elsewhere(), _what_keys_hold()]


def _latency_from_elsewhere() -> Part:
    """Measure with all cores, and kept to one core with the same and with an empty cache."""
    claim = "a latency measured elsewhere is reused"
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        return Part(claim, None, "not run: one core only; read in olive/engine/engine.py")
    model = {"type": "ONNXModel", "model_path": "input.onnx"}
    config = evaluation(model, latency_judge("OnnxEvaluator", ["avg"]))
    with workplace(layers=12, width=768) as folder:
        runs = [
            run(folder, {**config, "cache_dir": cache}, cores=kept_to)
            for kept_to, cache in ((None, "cache"), (1, "cache"), (1, "empty"))
        ]
    here, reused, fresh = (ran.input_metrics["latency-avg"]["value"] for ran in runs)
    observed = (
        f"avg latency {here} ms on {cores} cores; kept to 1 core with the same cache {reused} ms,"
        f" with an empty one {fresh} ms"
    )
    return Part(claim, here == reused != fresh, observed)


def _what_keys_hold() -> Part:
    with workplace() as folder:
        run(folder, single([measured(0.1)]))
        files = files_in(folder / "cache")
        names = [path.name.split("-", 1)[1] for path in files if "evaluations" in path.parts]
        entry = next(path for path in files if path.name == "run.json")
        parts = set(json.loads((folder / "cache" / entry).read_text("utf-8")))
    parts -= {"output_model_id"}
    observed = f"a run's key is made of {sorted(parts)}; an evaluation's is ID-{names[0]}"
    known = {"accelerator_spec", "input_model_id", "pass_config", "pass_name"}
    named = {"cpu.json", "cpu-cpu.json"}
    return Part(
        "keys hold no version and no hardware", parts == known and {*names} <= named, observed
    )
