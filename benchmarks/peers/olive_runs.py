"""Runs Olive's own command on small workflows, and reads what it leaves on disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ACCURACY, LATENCY = "accuracy-accuracy_score", "latency-avg"
Json = dict[str, Any]

# What may go wrong in a candidate: keys of its plan.
FAILS: Json = {"trouble": "fail"}
HANGS: Json = {"trouble": "hang"}
CRASHES: Json = {"trouble": "segfault"}
SLOW: Json = {"trouble": "slow"}

# Nothing that is run here has a use for a network, and nothing of it is to be reported to anyone.
QUIET = {
    # OLIVE_DISABLE_TELEMETRY alone still sends a first message with an identity of the machine.
    "CI": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_RUN_LIMIT_S = 300


@dataclass(frozen=True)
class Run:
    """How one ``olive run`` ended, and what it left.

    Attributes:
        status: Its exit status, negative for a signal; None if it was still running.
        log: What it printed.
        journal: The steps that the fakes noted in this run.
        files: The names of the files in its output folder.
        nodes: The candidates' models in ``footprint.json``, in its order; empty without the file.
        handed_over: The number of the candidate whose model is in the output folder.
        input_metrics: What it found of the input model.
    """

    status: int | None
    log: str
    journal: tuple[str, ...]
    files: tuple[str, ...]
    nodes: tuple[Json, ...]
    handed_over: int | None
    input_metrics: Json

    @property
    def front(self) -> list[int]:
        """The numbers of the candidates on the Pareto frontier."""
        return [candidate(node) for node in self.nodes if node["is_pareto_frontier"]]

    def count(self, step: str) -> int:
        """Return how often a step was noted: ``pass``, ``evaluate`` or ``call``."""
        return sum(line.split()[0] == step for line in self.journal)

    def says(self, text: str) -> str:
        """Return the last line of the log that holds a text, or an empty string."""
        lines = [line for line in self.log.splitlines() if text in line]
        return lines[-1].strip() if lines else ""


def candidate(node: Json) -> int:
    """Return the candidate's number of a footprint's node."""
    return int(node["pass_run_config"]["candidate"])


def measured(accuracy: float | str, latency: float | None = None) -> Json:
    """Return a candidate's plan: what its evaluator will say."""
    metrics: Json = {ACCURACY: str(accuracy)}
    return {"metrics": metrics if latency is None else {**metrics, LATENCY: str(latency)}}


def fake_pass(plans: Sequence[Json]) -> Json:
    """Return a fake pass searched over one candidate a plan."""
    numbered = {str(number): plan for number, plan in enumerate(plans)}
    return {"type": "FakePass", "candidate": list(range(len(plans))), "plan": numbered}


def evaluator(goal: Json | None = None, latency: Json | None = None) -> Json:
    """Return the fake evaluator.

    Args:
        goal: The goal for accuracy, the first objective.
        latency: The goal for latency; with an empty one it is an objective without a goal, with
            none it is not an objective.
    """
    first = {"name": "accuracy_score", "priority": 1, "higher_is_better": True, "goal": goal}
    metrics: list[Json] = [{"name": "accuracy", "type": "accuracy", "sub_types": [first]}]
    if latency is not None:
        second = {"name": "avg", "priority": 2, "higher_is_better": False, "goal": latency or None}
        metrics.append({"name": "latency", "type": "latency", "sub_types": [second]})
    script = str(HERE / "olive_fakes.py")
    return {"type": "FakeEvaluator", "user_script": script, "metrics": metrics}


def latency_judge(kind: str, names: Sequence[str], **metric: Any) -> Json:
    """Return one of Olive's own evaluators with latencies as its objectives."""
    sub_types = [{"name": name, "priority": i} for i, name in enumerate(names, 1)]
    latency = {"name": "latency", "type": "latency", "sub_types": sub_types, **metric}
    return {"type": kind, "metrics": [latency]}


def workflow(passes: Mapping[str, Json], judge: Json, **search: Any) -> Json:
    """Return a workflow that searches; ``search`` are keys of its search strategy."""
    strategy = {"execution_order": "joint", "sampler": "sequential", **search}
    return {
        "input_model": {"type": "ONNXModel", "model_path": "input.onnx"},
        "passes": dict(passes),
        "evaluators": {"judge": judge},
        "evaluator": "judge",
        "evaluate_input_model": False,
        "search_strategy": strategy,
        "cache_dir": "cache",
        "output_dir": "out",
    }


def evaluation(model: Json, judge: Json) -> Json:
    """Return a workflow that evaluates its input model only."""
    return {
        "input_model": model,
        "evaluators": {"judge": judge},
        "evaluator": "judge",
        "cache_dir": "cache",
        "output_dir": "out",
    }


def single(plans: Sequence[Json], judge: Json | None = None, **search: Any) -> Json:
    """Return a workflow that searches over the plans of one fake pass."""
    return workflow({"fake": fake_pass(plans)}, judge or evaluator(), **search)


@contextlib.contextmanager
def workplace(layers: int = 1, width: int = 8) -> Iterator[Path]:
    """Yield a temporary folder with an input model in it."""
    from olive_fakes import write_onnx

    with tempfile.TemporaryDirectory(prefix="olive-") as name:
        write_onnx(Path(name) / "input.onnx", layers, width)
        yield Path(name)


def run(
    folder: Path,
    config: Json,
    *,
    trouble: bool = True,
    cores: int | None = None,
    stop_after: tuple[str, float] | None = None,
) -> Run:
    """Run a workflow with Olive's command in a process group of its own.

    Args:
        folder: Where it runs. A second run there finds the first one's cache, but no output.
        config: The workflow.
        trouble: Whether what is planned to go wrong goes wrong.
        cores: To how many processor cores it is kept.
        stop_after: A journal's line and the seconds after it at which the run is killed.
    """
    shutil.rmtree(folder / "out", ignore_errors=True)
    journal = folder / "journal.txt"
    journal.write_text("", encoding="utf-8")
    (folder / "workflow.json").write_text(json.dumps(config), encoding="utf-8")
    _write_package_config(folder / "package.json")
    arguments = ["run", "--config", "workflow.json", "--package-config", "package.json"]
    environment = {**os.environ, **QUIET, "PEER_JOURNAL": str(journal), "PYTHONPATH": str(HERE)}
    environment |= {"PEER_TROUBLE": "1"} if trouble else {}
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*_kept_to(cores), sys.executable, "-m", "olive", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        status = _wait(process, journal, stop_after)
        log.seek(0)
        text = log.read()
    return _read(status, text, journal, folder / "out")


def run_fresh(config: Json, **how: Any) -> Run:
    """Run a workflow where nothing is cached; ``how`` as for ``run``."""
    with workplace() as folder:
        return run(folder, config, **how)


def _read(status: int | None, log: str, journal: Path, out: Path) -> Run:
    """Return a run with what it left in its output folder."""
    nodes = [node for node in _json(out / "footprint.json").values() if node["parent_model_id"]]
    model = _json(out / "model_config.json")
    return Run(
        status=status,
        log=log,
        journal=tuple(journal.read_text(encoding="utf-8").splitlines()),
        files=tuple(str(path) for path in files_in(out)),
        nodes=tuple(nodes),
        handed_over=model["config"]["model_attributes"]["candidate"] if model else None,
        input_metrics=_json(out / "input_model_metrics.json"),
    )


def files_in(folder: Path) -> list[Path]:
    """Return the files below a folder, relative to it."""
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def _json(path: Path) -> Json:
    """Return the object in a file, empty without the file."""
    content: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


def _write_package_config(path: Path) -> None:
    module = {"module_path": "olive_fakes.FakePass"}
    every = ("supported_providers", "supported_accelerators", "supported_precisions")
    module_config = {**module, **{key: ["*"] for key in every}}
    path.write_text(json.dumps({"passes": {"FakePass": module_config}}), encoding="utf-8")


def _kept_to(cores: int | None) -> list[str]:
    """Return what to put before a command that may use so many cores."""
    if cores is None:
        return []
    allowed = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:cores])
    return ["taskset", "--cpu-list", allowed]


def _wait(
    process: subprocess.Popen[bytes], journal: Path, stop_after: tuple[str, float] | None
) -> int | None:
    """Return the exit status; None if the run was going on when its time was over."""
    try:
        if stop_after is None:
            return process.wait(timeout=_RUN_LIMIT_S)
        line, seconds = stop_after
        _await_line(process, journal, line)
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_line(process: subprocess.Popen[bytes], journal: Path, line: str) -> None:
    """Wait until the journal holds a line or the process has ended.

    Raises:
        TimeoutError: Neither came about in time.
    """
    deadline = time.monotonic() + _RUN_LIMIT_S
    while line not in journal.read_text(encoding="utf-8").splitlines():
        if process.poll() is not None:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {line!r} in {_RUN_LIMIT_S} s")
        time.sleep(0.05)
