"""Defects 1 to 5: how Olive's search compares candidates, and when it stops."""

from __future__ import annotations

from olive_findings import Part
from olive_runs import (
    FAILS,
    Run,
    candidate,
    evaluator,
    fake_pass,
    measured,
    run_fresh,
    single,
    workflow,
)


def _met(ran: Run) -> int:
    return sum(node["metrics"]["if_goals_met"] for node in ran.nodes)


def threshold_goals() -> list[Part]:
    """Search under a goal that nothing reaches: alone, and beside a relative goal."""
    plans = [measured(a, 1) for a in (0.1, 0.2, 0.3)]
    goal = {"type": "threshold", "value": 0.9}
    relative = {"type": "max-degradation", "value": 100}
    alone = run_fresh(single(plans, evaluator(goal)))
    beside = run_fresh(single(plans, evaluator(goal, latency=relative)))
    observed = (
        f"goal accuracy >= 0.9, candidates at 0.1, 0.2, 0.3: {_met(alone)} of 3 marked as meeting"
        f" it, candidate {alone.handed_over} handed over as the model; with a relative goal for"
        f" latency beside it {_met(beside)} of 3"
    )
    dropped = _met(alone) == 3 and alone.handed_over is not None and _met(beside) == 0
    return [Part("a threshold goal is dropped when every goal is one", dropped, observed)]


def nan_on_the_front() -> list[Part]:
    """Search where one candidate's accuracy is not a number and its latency the worst."""
    plans = [measured("nan", 1000), measured(0.9, 10), measured(0.5, 20)]
    ran = run_fresh(single(plans, evaluator(latency={})))
    observed = (
        "accuracy/latency of candidates 0 to 2: NaN/1000, 0.9/10, 0.5/20; Pareto frontier:"
        f" {ran.front}; handed over: candidate {ran.handed_over}"
    )
    return [Part("a NaN metric is always on the Pareto frontier", 0 in ran.front, observed)]


def failed_candidate() -> list[Part]:
    """Search with a failing candidate: pass by pass, to a goal, and to no goal."""
    return [_failure_in_sorting(), _failure_without_goals()]


def _failure_in_sorting() -> Part:
    passes = {
        "first": fake_pass([measured(0.5), FAILS, measured(0.6)]),
        "second": fake_pass([measured(0.7), measured(0.8)]),
    }
    judge = evaluator({"type": "min-improvement", "value": 0.1})
    runs = [
        run_fresh(workflow(passes, evaluator(), execution_order="pass-by-pass")),
        run_fresh(single([FAILS, measured(0.6)], judge, stop_when_goals_met=True)),
    ]
    ended = [f"exit status {ran.status}, {ran.says('TypeError')!r}" for ran in runs]
    raised = all(ran.status == 1 and ran.says("TypeError") for ran in runs)
    observed = f"one failed candidate, pass-by-pass: {ended[0]}; stop_when_goals_met: {ended[1]}"
    return Part("one failed candidate raises TypeError in later sorting", raised, observed)


def _failure_without_goals() -> Part:
    plans = [FAILS, measured(0.6), measured(0.7)]
    ran = run_fresh(single(plans, stop_when_goals_met=True))
    tried = ran.count("pass")
    observed = f"no goals, the first of 3 candidates fails: the search stopped after {tried} of 3"
    return Part("with no goals a failed candidate meets them", tried == 1, observed)


def missing_metric() -> list[Part]:
    """Search pass by pass where one candidate of the first pass has no latency."""
    passes = {
        "first": fake_pass([measured(0.5, 10), measured(0.5)]),
        "second": fake_pass([measured(0.6, 10), measured(0.6, 11)]),
    }
    judge = evaluator(latency={})
    ran = run_fresh(workflow(passes, judge, execution_order="pass-by-pass"))
    number = {node["model_id"]: candidate(node) for node in ran.nodes}
    parents = [node["parent_model_id"] for node in ran.nodes]
    order = list(dict.fromkeys(number[parent] for parent in parents if parent in number))
    observed = (
        "two candidates of the first pass with accuracy 0.5, number 0 with a latency of 10 ms,"
        f" number 1 with none: the second pass took them, best first, as {order}"
    )
    claim = "a candidate without a lower-is-better metric ranks best"
    return [Part(claim, order[:1] == [1], observed)]


def max_iter() -> list[Part]:
    """Search five candidates with a limit of two."""
    ran = run_fresh(single([measured(a / 10) for a in range(5)], max_iter=2))
    tried = ran.count("pass")
    return [Part("max_iter=2 runs 3", tried == 3, f"max_iter=2 over 5 candidates ran {tried}")]
