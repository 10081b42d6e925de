"""What Olive loads in its own environment: the rows, and the quality of a network on them.

Rows are in an ``.npz`` file, one array for each input of each run, named ``number/input``, as the
network takes it; the answers, and how a network is judged, are in ``judged.json`` beside it.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"
from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from olive.data.registry import Registry as DataRegistry
from olive.evaluator.metric_result import MetricResult
from olive.evaluator.olive_evaluator import OnnxEvaluator
from olive.evaluator.registry import Registry


def _runs(file: Path) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    with np.load(file) as arrays:
        for name, array in arrays.items():
            number, _, given = name.partition("/")
            found.setdefault(int(number), {})[given] = array
    return [found[number] for number in sorted(found)]


class _Rows:
    """Runs of a network with their batch axis; no label counts here."""

    def __init__(self, file: str) -> None:
        self._runs = _runs(Path(file))

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, number: int) -> tuple[dict[str, Any], int]:
        return self._runs[number], 0


@DataRegistry.register_dataset()
def given_rows(file: str, **_: Any) -> _Rows:
    """Return the rows of a file."""
    return _Rows(file)


@Registry.register("JudgedEvaluator")
class JudgedEvaluator(OnnxEvaluator):
    """Olive's evaluator, whose accuracy is the metric that counts, on the held-out rows.

    A metric of Olive's own type ``custom`` ends this version of Olive: its configuration cannot be
    written down.
    """

    def __init__(self, judged: str) -> None:
        super().__init__()
        self._file = Path(judged)

    def _evaluate_accuracy(
        self,
        model: Any,
        metric: Any,
        dataloader: Any,
        post_func: Any,
        device: Any,
        execution_providers: Any,
    ) -> MetricResult:
        session = model.prepare_session(
            inference_settings=model.inference_settings,
            device=device,
            execution_providers=execution_providers,
        )
        how = json.loads(self._file.read_text(encoding="utf-8"))
        runs = _runs(self._file.with_name(how["rows"]))
        found = list(_outputs(session, runs, how["state"]))
        value = float(_METRICS[how["metric"]](found, how, self._file.parent, runs))
        (kind,) = metric.sub_types
        told = {
            "value": value,
            "priority": kind.priority,
            "higher_is_better": kind.higher_is_better,
        }
        return MetricResult.model_validate({kind.name: told})


def _outputs(
    session: Any, runs: list[dict[str, Any]], state: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the outputs of each run; of a network with state, those of all its steps."""
    names = [output.name for output in session.get_outputs()]
    taken = {given.name for given in session.get_inputs()}
    zeros = {
        given.name: np.zeros([size if isinstance(size, int) else 1 for size in given.shape], "f4")
        for given in session.get_inputs()
        if given.name in state.values()
    }
    for run in runs:
        given = {name: array for name, array in run.items() if name in taken}
        if not state:
            yield dict(zip(names, session.run(None, given), strict=True))
            continue
        held, steps = dict(zeros), []
        for n in range(len(next(iter(given.values()))[0])):
            step = {name: array[:, n] for name, array in given.items()}
            made = dict(zip(names, session.run(None, {**step, **held}), strict=True))
            held = {into: made[out] for out, into in state.items()}
            steps.append(made)
        yield {name: np.stack([made[name] for made in steps], axis=1) for name in names}


def _accuracy(found: list[Any], how: Any, folder: Path, runs: Any) -> float:
    best = [next(iter(outputs.values()))[0].argmax() for outputs in found]
    return float(np.mean(np.array(best) == np.array(how["targets"])))


def _exact_match(found: list[Any], how: Any, folder: Path, runs: Any) -> float:
    file, name = how["postprocess"].split(":")
    spec = importlib.util.spec_from_file_location("postprocess", folder / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["postprocess"] = module
    spec.loader.exec_module(module)
    read = getattr(module, name)
    texts = [read({key: value[0] for key, value in outputs.items()}) for outputs in found]
    return float(
        np.mean([text == right for text, right in zip(texts, how["targets"], strict=True)])
    )


def _ndcg_at_10(found: list[Any], how: Any, folder: Path, runs: list[Any]) -> float:
    vectors = []
    for outputs, run in zip(found, runs, strict=True):
        tokens = outputs[how["output"]][0][run["attention_mask"][0] > 0]
        mean = tokens.astype(np.float64).mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    near = np.stack(vectors) @ np.stack(vectors).T
    np.fill_diagonal(near, -np.inf)
    targets = np.array(how["targets"])
    gains = []
    for n, scores in enumerate(near):
        right = targets == targets[n]
        right[n] = False
        if right.any():
            ranks = right[np.argsort(-scores, kind="stable")[:10]]
            discounts = 1 / np.log2(np.arange(2, 12))
            best = discounts[: min(10, int(right.sum()))].sum()
            gains.append((ranks * discounts[: len(ranks)]).sum() / best)
    return float(np.mean(gains))


def _max_abs_difference(found: list[Any], how: Any, folder: Path, runs: list[Any]) -> float:
    source = onnxruntime.InferenceSession(how["source"], providers=["CPUExecutionProvider"])
    before = list(_outputs(source, runs, how["state"]))
    name = how["output"]
    pairs = zip(found, before, strict=True)
    return float(max(np.abs(now[name] - then[name]).max() for now, then in pairs))


_METRICS = {
    "accuracy": _accuracy,
    "exact_match": _exact_match,
    "ndcg_at_10": _ndcg_at_10,
    "max_abs_difference": _max_abs_difference,
}
