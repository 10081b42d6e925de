"""A pass, an evaluator and models of ours for Olive: candidates without a real model.

Olive finds the pass through a package configuration, the evaluator as a user script. What a
candidate does and measures stands in the pass's parameter ``plan``, by the candidate's number:

    {"2": {"trouble": "segfault", "metrics": {"accuracy-accuracy_score": "nan"}}}

Each step is noted in the file ``$PEER_JOURNAL``. Trouble happens while ``$PEER_TROUBLE`` is set.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"
from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from olive.data.registry import Registry as DataRegistry
from olive.evaluator.metric_result import MetricResult
from olive.evaluator.olive_evaluator import OliveEvaluator
from olive.evaluator.registry import Registry
from olive.model import ONNXModelHandler
from olive.passes import Pass
from olive.passes.pass_config import PassConfigParam
from olive.search.search_parameter import Categorical

HANG_S = 3600
SLOW_S = 15


def note(*words: object) -> None:
    """Append a line to the journal, if there is one."""
    if path := os.environ.get("PEER_JOURNAL"):
        with Path(path).open("a", encoding="utf-8") as journal:
            print(*words, file=journal, flush=True)


def _get_into(trouble: str) -> None:
    """End, fail or stop as ``trouble`` says.

    Raises:
        ConnectionError: The trouble is ``fail``: what a lost connection raises.
    """
    if trouble == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif trouble == "hang":
        time.sleep(HANG_S)
    elif trouble == "slow":
        time.sleep(SLOW_S)
    elif trouble == "fail":
        raise ConnectionError("the network is away")


def _act(candidate: int, where: str, plan: dict[str, Any]) -> None:
    """Note the step and get into the trouble that is planned for it."""
    note(where, candidate)
    if "PEER_TROUBLE" in os.environ and plan.get("where", "pass") == where:
        _get_into(plan.get("trouble", "none"))


class FakePass(Pass):
    """Hands the model on; the candidate's number and plan go with it."""

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, PassConfigParam]:
        return {
            "candidate": PassConfigParam(
                type_=int, default_value=0, search_defaults=Categorical([0]), description="Number."
            ),
            "plan": PassConfigParam(type_=dict, default_value={}, description="What to do."),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: Any, output_model_path: str
    ) -> ONNXModelHandler:
        plan = config.plan.get(str(config.candidate), {})
        _act(config.candidate, "pass", plan)
        path = Path(output_model_path) / "model.onnx"
        shutil.copyfile(model.model_path, path)
        attributes = {"candidate": config.candidate, "plan": plan}
        return ONNXModelHandler(model_path=str(path), model_attributes=attributes)


@Registry.register("FakeEvaluator")
class FakeEvaluator(OliveEvaluator):
    """Returns the planned metrics; without a plan the number as accuracy, and a latency of 1."""

    def evaluate(
        self, model: ONNXModelHandler, metrics: list[Any], device: Any, execution_providers: Any
    ) -> MetricResult:
        """Return the metrics of one candidate, or of the input model (candidate -1)."""
        attributes = model.model_attributes or {}
        candidate, plan = attributes.get("candidate", -1), attributes.get("plan", {})
        _act(candidate, "evaluate", plan)
        unplanned = {"accuracy-accuracy_score": candidate, "latency-avg": 1}
        values = plan.get("metrics", unplanned)
        return MetricResult.model_validate(
            {
                name: {
                    "value": float(value),
                    "priority": 1,
                    "higher_is_better": name.startswith("accuracy"),
                }
                for name, value in values.items()
            }
        )


class CountingModel(torch.nn.Module):
    """Notes each call: the process it runs in and the sum of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output."""
        note("call", os.getpid(), float(x.sum()))
        return self.layer(x)


def load_counting_model(_path: str | None) -> CountingModel:
    """Return the model; Olive's loader of it."""
    return CountingModel()


@DataRegistry.register_dataset("fake_rows")
def fake_rows(**_: Any) -> list[dict[str, torch.Tensor]]:
    """Return rows that can be told apart by their sum."""
    return [{"x": torch.full((64,), float(row))} for row in range(8)]


def write_onnx(path: Path, layers: int, width: int) -> None:
    """Write an ONNX model of square matrix products."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((width, width)).astype(np.float32) for _ in range(layers)]
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    nodes = [
        onnx.helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(layers)
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [width, width])
        for name in ("x", "y")
    ]
    constants = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = onnx.helper.make_graph(nodes, "products", ends[:1], ends[1:], constants)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
