"""A results document in which every text is what one wants, to see what becomes of it."""

from __future__ import annotations

from typing import Any

from paretune.study.results import Results


def document(text: str, name: str = "") -> dict[str, Any]:
    """Return a results document of two candidates.

    Args:
        text: Stands wherever a text from a model, data, a log or a configuration may stand.
        name: Is part of what only plug-ins and packages name: metrics, providers, packages.
    """
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "unit": text, "reason": None}
    none = {**metric, "value": None, "reason": text}
    metrics = {
        f"accuracy{name}": metric,
        f"ms{name}": metric,
        f"mb{name}": none,
        f"never{name}": none,
    }
    recipe = [{"pass": f"genai{text}x", "params": {f"k{text}": text, "l": [text, {text: text}]}}]
    runtime = {"provider": f"cpu{name}", "threads": 2}
    candidate = {
        "id": 1,
        "recipe": recipe,
        "runtime": runtime,
        "outcome": "ok",
        "rung": "full",
        "reason": None,
        "duplicate_of": None,
        "feasible": True,
        "pareto": True,
        "metrics": metrics,
        "artifact": f"sha256:{text}",
        "seconds": [{"step": f"genai{text}x", "s": 1.0, "cached": False}],
    }
    failed = {
        "outcome": "failed",
        "reason": text,
        "feasible": False,
        "pareto": False,
        "metrics": {**metrics, f"mb{name}": metric},
    }
    names = ("processor", "os", "python", "fingerprint")
    limit = {"metric": f"accuracy{name}", "op": ">=", "value": 0.9, "text": f"accuracy {text}"}
    found: dict[str, Any] = {
        "schema": 1,
        "study": f"study{text}x",
        "status": "finished",
        "config": text,
        "versions": {f"torch{name}": f"1.0{name}"},
        "device": {
            **dict.fromkeys(names, text),
            "cores": 2,
            "logical_cores": 2,
            "memory": 1,
            "providers": [text],
            "flags": [text],
            "gpus": [text],
        },
        "objectives": [{"metric": f"accuracy{name}", "direction": "maximize"}],
        "notes": [text],
        "constraints": [limit],
        "baseline": {"id": 2, "recipe": recipe, "runtime": runtime, "metrics": metrics},
        "candidates": [candidate, {**candidate, "id": 2, **failed}],
        "pareto": [1],
        "best": 1,
        "nearest_miss": {"id": 2, "constraint": text, "value": 1.0, "limit": 2.0},
        "no_difference": [{"pass": text, "param": text, "values": [text, text], "groups": 2}],
    }
    Results.model_validate(found)
    return found
