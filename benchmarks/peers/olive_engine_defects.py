"""Defects 6, 7, 10 and 11: where Olive's candidates run, what stays, and how they are measured."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from collections.abc import Mapping

from olive_findings import Part
from olive_runs import (
    CRASHES,
    FAILS,
    HANGS,
    HERE,
    Json,
    Run,
    evaluation,
    evaluator,
    files_in,
    latency_judge,
    measured,
    run,
    run_fresh,
    single,
    workplace,
)

HANG_PATIENCE_S = 20


def in_process() -> list[Part]:
    """Let the second of three candidates crash, in its pass or its evaluation; let it hang."""
    return [_crash("pass", "pass"), _crash("evaluator", "evaluate"), _hang()]


def _crash(what: str, where: str) -> Part:
    plans = [measured(0.1), {**measured(0.2), **CRASHES, "where": where}, measured(0.3)]
    ran = run_fresh(single(plans))
    tried = ran.count("pass")
    observed = (
        f"a segmentation fault in the {what} of the second of 3 candidates: olive run ended with"
        f" status {ran.status} after {tried}, files in its output folder: {len(ran.files)}"
    )
    ended = ran.status is not None and ran.status < 0 and tried == 2
    return Part(f"a crash in the {what} ends the search", ended, observed)


def _hang() -> Part:
    plans = [measured(0.1), {**measured(0.2), **HANGS}, measured(0.3)]
    ran = run_fresh(single(plans, max_time=2), stop_after=("pass 1", HANG_PATIENCE_S))
    tried = ran.count("pass")
    observed = (
        f"a pass that hangs in the second of 3 candidates, max_time=2: after {HANG_PATIENCE_S} s"
        f" {'still there' if ran.status is None else 'ended'}, {tried} tried"
    )
    return Part("a hang ends the search", ran.status is None and tried == 2, observed)


def no_state() -> list[Part]:
    """Kill a search of five candidates in the fourth and start it again."""
    plans = [measured(a / 10) for a in range(5)]
    plans[3] |= HANGS
    with workplace() as folder:
        killed = run(folder, single(plans), stop_after=("pass 3", 1))
        kept = {path.parts[1] for path in files_in(folder / "cache")}
        again = run(folder, single(plans), trouble=False)
    begun = "at step 1" if again.says("Step 1 ") else "at a later step"
    observed = (
        f"killed in the fourth of 5 candidates, {killed.count('evaluate')} measured:"
        f" {len(killed.files)} files in the output folder, in the cache {sorted(kept)}; the same"
        f" command again began {begun} and ran {again.count('pass')} passes, what was missing"
    )
    stateless = not killed.files and kept <= {"runs", "evaluations", "olive_config.json"}
    return [Part("a killed search leaves no state and no frontier", stateless, observed)]


def latency_figures() -> list[Part]:
    """Look at how a latency is taken, and at what else can be measured."""
    return [_latency_sample(), _metric_kinds()]


def _latency_sample() -> Part:
    """Measure a model that notes its calls, on rows that can be told apart."""
    fakes = str(HERE / "olive_fakes.py")
    io = {"input_names": ["x"], "input_shapes": [[1, 64]], "output_names": ["y"]}
    model: Json = {"type": "PyTorchModel", "model_file_format": "PyTorch.EntireModel"}
    model |= {"model_loader": "load_counting_model", "model_script": fakes, "io_config": io}
    data: Json = {
        "name": "rows",
        "user_script": fakes,
        "load_dataset_config": {"type": "fake_rows"},
    }
    data |= {"pre_process_data_config": {"type": "skip_pre_process"}}
    judge = latency_judge("PyTorchEvaluator", ["avg", "p999", "max"], data_config="rows")
    ran = run_fresh(evaluation(model, judge) | {"data_configs": [data]})
    p999, top = ran.input_metrics["latency-p999"], ran.input_metrics["latency-max"]["value"]
    calls = [line.split() for line in ran.journal]
    processes, rows = {call[1] for call in calls}, {call[2] for call in calls}
    observed = (
        f"by default {len(calls)} calls of the model (10 of them warm-up) in {len(processes)}"
        f" process on {len(rows)} of 8 rows; p99.9 = {p999['value']} ms, max = {top} ms; a figure"
        f" has {sorted(p999)}"
    )
    sampled = len(calls) == 30 and len(processes) == len(rows) == 1
    bare = set(p999) == {"value", "priority", "higher_is_better"}
    return Part("20 runs of one batch, p99.9 from them, no interval", sampled and bare, observed)


def _metric_kinds() -> Part:
    from olive.evaluator.metric import LatencySubType, MetricType, ThroughputSubType

    kinds = [str(kind.value) for kind in MetricType]
    names = [*kinds, *(str(s.value) for s in (*LatencySubType, *ThroughputSubType))]
    wanted = ("ttft", "first", "token", "memory")
    found = [name for name in names if any(word in name for word in wanted)]
    observed = (
        f"metric types: {', '.join(kinds)}; those for a first token, tokens or memory: {found}"
    )
    return Part("no first-token time, no token rate, no peak memory", not found, observed)


def providers_and_failures() -> list[Part]:
    """Ask for two providers and for lm-eval's metrics as objectives; let every candidate fail."""
    return [_two_providers(), _lm_eval_objectives(), _failed_runs()]


def _two_providers() -> Part:
    names = ["CPUExecutionProvider", "OpenVINOExecutionProvider"]
    both = [{"device": "cpu", "execution_providers": names}]
    each = [{"device": "cpu", "execution_providers": [name]} for name in names]
    refusals = []
    for accelerators in (both, each):
        system = {"type": "LocalSystem", "accelerators": accelerators}
        config = single([measured(0.1)]) | {"systems": {"here": system}, "target": "here"}
        refusals.append(run_fresh(config).says("Only one").split(" [type=")[0])
    observed = (
        f"two providers in an accelerator: {refusals[0]!r}; two accelerators: {refusals[1]!r}"
    )
    return Part("one execution provider a system", all(refusals), observed)


def _lm_eval_objectives() -> Part:
    from olive.engine import Engine
    from olive.evaluator.olive_evaluator import OliveEvaluatorConfig

    with workplace() as folder:
        engine = Engine(cache_config={"cache_dir": str(folder / "cache")})
        plain = OliveEvaluatorConfig(type="LMEvaluator", tasks=["arc_easy"])
        objectives = dict(engine.resolve_objectives(None, "", plain.metrics, None))
    unranked = {key: value for key, value in evaluator().items() if key != "metrics"}
    ran = run_fresh(single([measured(0.1), measured(0.2)], unranked))
    by_hand = {
        "acc as accuracy": _declared("accuracy", "acc"),
        "acc as custom": _declared("custom", "acc"),
        "exact_match as accuracy": _declared("accuracy", "exact_match"),
    }
    told = ", ".join(f"{what}: {how}" for what, how in by_hand.items())
    observed = (
        f"an LMEvaluator's objectives: {objectives}; its metrics declared by hand: {told}; a"
        f" search with no objective (accuracies 0.1, 0.2): frontier {ran.front}, handed over:"
        f" candidate {ran.handed_over}"
    )
    refused = _refuses(by_hand, "acc as accuracy") and _refuses(by_hand, "acc as custom")
    claim = "lm-eval's metrics cannot be objectives (but those Olive has a name for)"
    return Part(claim, not objectives and refused, observed)


def _refuses(by_hand: Mapping[str, str], what: str) -> bool:
    return by_hand[what] != "taken"


def _declared(kind: str, name: str) -> str:
    """Declare a metric of an lm-eval task; returns ``taken``, or the error it ends in."""
    from olive.evaluator.olive_evaluator import OliveEvaluatorConfig
    from pydantic import ValidationError
    from pydantic_core import PydanticSerializationError

    sub = {"name": name, "priority": 1, "higher_is_better": True}
    metric: Json = {"name": "task", "type": kind, "sub_types": [sub]}
    try:
        OliveEvaluatorConfig(type="LMEvaluator", tasks=["task"], metrics=[metric]).model_dump()
    except (ValidationError, PydanticSerializationError) as refusal:
        return type(refusal).__name__
    return "taken"


def _failed_runs() -> Part:
    """Let a search fail in every candidate, and a workflow without a search in its pass."""
    fixed = single([]) | {"passes": {"fake": {"type": "FakePass", "plan": {"0": FAILS}}}}
    del fixed["search_strategy"]
    runs = [run_fresh(single([FAILS, FAILS])), run_fresh(fixed)]
    ended = [f"status {ran.status}, {_last_warning(ran)!r}" for ran in runs]
    observed = f"every candidate fails: {ended[0]}; without a search, the pass fails: {ended[1]}"
    warned = all(ran.status == 0 and _last_warning(ran) for ran in runs)
    return Part("failed runs end in a warning", warned, observed)


def _last_warning(ran: Run) -> str:
    return ran.says("[WARNING]").rpartition("] ")[2]
