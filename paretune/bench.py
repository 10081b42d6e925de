"""The device's own figures: memory bandwidth, matrix speed, start-up; and a model's speed on it.

A decode step reads the whole model once, so ``bandwidth / bytes`` bounds the tokens per second. A
prefill is bound by matrix speed. Both depend on threads, hence one figure a thread count.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from paretune.errors import ParetuneError, UsageError
from paretune.jsontools import Json
from paretune.measurement import Rung
from paretune.models import ModelKind, open_model
from paretune.package import lay_out
from paretune.search.candidate import RuntimeSettings
from paretune.targets.base import Job, JobStatus, Limits, Target, TargetInfo
from paretune.targets.local import RUNTIMES, LocalTarget, worker_environment
from paretune.targets.providers import PROVIDERS, check_provider

_ARRAY_BYTES = 256 << 20  # several times the largest caches
_MATRIX = 1024
_SECONDS_EACH = 0.6
_STARTS = 10
_LIMITS = Limits(seconds=120.0)
_MODEL_LIMITS = Limits(seconds=600.0)


def bench_device(target: Target | None = None) -> dict[str, Json]:
    """Measure this device; takes about ten seconds.

    Args:
        target: Where to measure; None: this machine.

    Returns:
        ``{"device": TargetInfo as JSON, "figures": [{"name", "threads", "value", "unit", "low",
        "high", "n"}, ...], "providers": {name: None or what it needs}}``. ``value`` is the median
        of ``n`` repetitions, ``low`` and ``high`` their quartiles; decimal units (GB: 10^9 bytes).
    """
    if target is None:
        with LocalTarget() as made:
            return bench_device(made)
    info = target.info()
    threads = thread_counts(info)
    figures = [*_start_up(target)]  # first: the rest would share the processor with its imports
    for what in ("bandwidth", "matrix_fp32", "matrix_int8"):
        call = {"function": f"paretune.bench:{what}", "args": {"threads": threads}}
        figures += _value(target, Job("call", call, _LIMITS))
    return {
        "device": info.to_json(),
        "figures": figures,
        "providers": {name: check_provider(name, info) for name in PROVIDERS},
    }


def bench_model(
    path: Path, target: Target | None = None, *, threads: int | None = None
) -> dict[str, Json]:
    """Measure a model's speed and footprint on this device, as a search would.

    Args:
        path: A model folder of a kind that can be served (a GenAI or a Hugging Face folder).
        target: Where to measure; None: this machine.
        threads: Threads to run it with; None: the physical cores.

    Returns:
        ``{"device": ..., "model": ..., "runtime": ..., "measurements": [...]}``.

    Raises:
        UsageError: There is no such model, or it is of a kind that cannot be served by itself.
        ParetuneError: It does not load or generate, or a limit was hit.
    """
    model = open_model(path)
    if model.kind is ModelKind.HF_ADAPTER:
        raise UsageError(
            f"model {str(path)!r} is an adapter, which cannot be served by itself",
            hint="Merge it into its base model first (pass `merge`).",
        )
    if target is None:
        with LocalTarget() as made:
            return bench_model(path, made, threads=threads)
    info = target.info()
    runtime = RuntimeSettings("cpu", threads or info.cores)
    measured: list[Json] = []
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        package = lay_out(model, runtime, Path(folder, "package"), link=True)
        for name in ("generation", "footprint"):
            payload = {
                "model": package.to_json(),
                "runtime": runtime.to_json(),
                "evaluator": {"name": name, "params": {}},
                "rung": Rung.FULL.value,
                "data": _no_data(),
            }
            measured += _value(target, Job("measure", payload, _MODEL_LIMITS))
    return {
        "device": info.to_json(),
        "model": model.to_json(),
        "runtime": runtime.to_json(),
        "measurements": measured,
    }


def render(measured: dict[str, Json]) -> str:
    """Return what `bench_device` or `bench_model` measured as lines of text."""
    device = measured["device"]
    lines = [
        f"{device['processor']}, {device['cores']} cores ({device['logical_cores']} logical), "
        f"{device['memory'] / 1e9:.1f} GB; {device['fingerprint'][:19]}",
        "",
    ]
    if "measurements" in measured:
        runtime = measured["runtime"]
        lines.append(f"{measured['model']['path']} on {runtime['provider']} x{runtime['threads']}")
        for m in measured["measurements"]:
            value = "no value" if m["value"] is None else f"{m['value']:.4g} {m['unit']}"
            spread = "" if m["low"] is None else f"  [{m['low']:.4g}, {m['high']:.4g}], n={m['n']}"
            reason = f"  ({m['reason']})" if m["reason"] and m["value"] is None else ""
            lines.append(f"  {m['metric']:<22}{value:>20}{spread}{reason}")
        return "\n".join(lines)
    for figure in measured["figures"]:
        threads = "" if figure["threads"] is None else f"{figure['threads']} threads"
        value = f"{figure['value']:.4g} {figure['unit']}"
        spread = f"  [{figure['low']:.4g}, {figure['high']:.4g}], n={figure['n']}"
        lines.append(f"  {figure['name']:<26}{threads:<11}{value:>16}{spread}")
    lines.append("")
    for name, needs in measured["providers"].items():
        lines.append(
            f"  provider {name:<17}{'available' if needs is None else needs.partition(': ')[2]}"
        )
    return "\n".join(lines)


def thread_counts(info: TargetInfo) -> list[int]:
    """Return the thread counts worth measuring: powers of two, and all cores of both kinds."""
    powers = {1 << n for n in range(info.logical_cores.bit_length())}
    return sorted(n for n in powers | {info.cores, info.logical_cores} if n <= info.logical_cores)


# --- in the worker -----------------------------------------------------------------------------


def bandwidth(threads: Sequence[int], array_bytes: int = _ARRAY_BYTES) -> list[Json]:
    """Measure how fast memory is read, by a matrix-vector product: what a decode step does."""
    import torch

    matrix = torch.ones(array_bytes // 4).view(-1, 1024)
    vector = torch.ones(1024)
    size = matrix.numel() * 4
    figures = []
    for count in threads:
        torch.set_num_threads(count)
        seconds = _repeat(lambda: matrix.mv(vector))
        rates = [size / s / 1e9 for s in seconds]
        figures.append(_figure("memory read bandwidth", "GB/s", rates, count))
    return figures


def matrix_fp32(threads: Sequence[int], side: int = _MATRIX) -> list[Json]:
    """Measure ONNX Runtime's fp32 matrix product; each multiplication and addition counts."""
    return _matrix("matrix product fp32", "GFLOP/s", "MatMul", threads, side)


def matrix_int8(threads: Sequence[int], side: int = _MATRIX) -> list[Json]:
    """Measure ONNX Runtime's product of 8-bit integer matrices (sums in 32 bits)."""
    return _matrix("matrix product int8", "GOP/s", "MatMulInteger", threads, side)


def _matrix(name: str, unit: str, operator: str, threads: Sequence[int], side: int) -> list[Json]:
    import numpy as np
    import onnxruntime as ort

    # Of both operators: the type of the left side, and of the weights.
    left, right = {
        "MatMul": (np.float32, np.float32),
        "MatMulInteger": (np.uint8, np.int8),
    }[operator]
    numbers = np.random.default_rng(0)
    values = numbers.integers(0, 100, (side, side))
    graph = _one_product(operator, values.astype(right), left)
    work = 2 * side**3
    figures = []
    for count in threads:
        options = ort.SessionOptions()
        options.intra_op_num_threads = count
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        feed = {"left": values.astype(left)}
        seconds = _repeat(partial(session.run, None, feed))
        figures.append(_figure(name, unit, [work / s / 1e9 for s in seconds], count))
    return figures


def _one_product(operator: str, weights: Any, left: Any) -> bytes:
    """Return an ONNX model of one matrix product with constant weights."""
    from onnx import TensorProto, helper, numpy_helper

    result = TensorProto.FLOAT if operator == "MatMul" else TensorProto.INT32
    shape = list(weights.shape)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [
            helper.make_tensor_value_info(
                "left", helper.np_dtype_to_tensor_dtype(_dtype(left)), shape
            )
        ],
        [helper.make_tensor_value_info("product", result, shape)],
        [numpy_helper.from_array(weights, "right")],
    )
    opset = [helper.make_opsetid("", 21)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    return model


def _dtype(kind: Any) -> Any:
    import numpy as np

    return np.dtype(kind)


def _repeat(work: Callable[[], object], seconds: float = _SECONDS_EACH) -> list[float]:
    """Return the seconds of each repetition after one to warm up; five at least."""
    work()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        samples.append(time.perf_counter() - start)
    return samples


# --- in this process ---------------------------------------------------------------------------


def nothing() -> None:
    """Do nothing: what remains is the cost of a job."""


def _start_up(target: Target) -> list[Json]:
    """Measure what a job's process costs, and an interpreter that imports the run-time."""
    call = Job("call", {"function": "paretune.bench:nothing", "args": {}}, _LIMITS)
    _value(target, call)  # the first one waits for the fork server's imports
    jobs = [_seconds(lambda: _value(target, call)) * 1e3 for _ in range(_STARTS)]
    return [
        _figure("job start and end", "ms", jobs),
        _spawned("new process, run-time", ("onnxruntime_genai",), 3),
        _spawned("new process, all imports", RUNTIMES, 2),
    ]


def _spawned(name: str, modules: Sequence[str], times: int) -> dict[str, Json]:
    """Measure a new interpreter that imports some modules: what a job would cost without a fork."""
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    environment = worker_environment(allow_network=False)

    def spawn() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    return _figure(name, "ms", [_seconds(spawn) * 1e3 for _ in range(times)])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _figure(
    name: str, unit: str, samples: Sequence[float], threads: int | None = None
) -> dict[str, Json]:
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {
        "name": name,
        "threads": threads,
        "value": middle,
        "unit": unit,
        "low": low,
        "high": high,
        "n": len(samples),
    }


def _value(target: Target, job: Job) -> Any:
    """Run a job and return its value.

    Raises:
        ParetuneError: It did not come to a good end.
    """
    result = target.submit(job).result()
    if result.status is not JobStatus.OK:
        what = job.payload.get("function") or job.payload["evaluator"]["name"]
        raise ParetuneError(f"{what}: {result.status}: {result.reason}")
    return result.value


def _no_data() -> Json:
    from paretune.data import DataCatalog

    return DataCatalog({}, Path.cwd()).to_json()
