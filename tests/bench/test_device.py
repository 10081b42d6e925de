from __future__ import annotations

import json
import math
import random
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.bench import device as bench
from paretune.bench import figures as figures_of
from paretune.bench.figures import figure as figure_of
from paretune.bench.one_product import one_product
from paretune.bench.profile import beside_earlier, bursts, make_profile, noise_floor, problems
from paretune.core.device import TargetInfo
from paretune.core.device_profile import DeviceProfile
from paretune.core.errors import ParetuneError
from paretune.core.interference import Interference
from paretune.core.job import Call, Job
from paretune.targets.device.environment import Environment
from paretune.targets.launchers.local import LocalTarget


@pytest.mark.slow
def test_the_devices_figures(tmp_path: Path) -> None:
    measured = bench.bench_device(store_root=tmp_path)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    for figure in measured["figures"]:
        assert 0 < figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] >= 2
        assert figure["unit"]
    by_name = {figure["name"]: figure for figure in measured["figures"]}
    assert by_name["job start and end"]["value"] < by_name["new process, all imports"]["value"]
    assert by_name["read bandwidth, 256 MiB"]["value"] < 2000
    assert measured["device"]["fingerprint"].startswith("sha256:")
    assert measured["providers"]["cpu"] is None
    profile = DeviceProfile.load(tmp_path, measured["device"]["fingerprint"])
    assert profile is not None
    assert profile.to_json() == measured["profile"]
    assert profile.noise_floor > 0
    assert measured["kept"] in bench.render(measured)
    text = bench.render(measured)
    assert "memory read bandwidth" in text
    assert "noise floor" in text
    assert "provider cpu" in text


def test_the_kernels_run_in_a_worker() -> None:
    with LocalTarget() as target:
        shown = {}
        for function, arguments in {
            "timer": {},
            "bandwidth": {"threads": [1, 2], "sets": [1 << 16, 1 << 20], "seconds": 0.1},
            "arithmetic": {"threads": [1], "side": 32, "seconds": 0.1},
        }.items():
            shown[function] = bench._measure(target, function, **arguments)
            for figure in shown[function]:
                assert 0 < figure["low"] <= figure["value"] <= figure["high"]
        noise = [
            bench._measure(target, "noise", threads=1, seconds=0.1, side=64, small_side=32)
            for _ in range(2)
        ]
    assert {(f["threads"], f["bytes"]) for f in shown["bandwidth"]} == {
        (n, size) for n in (1, 2) for size in (1 << 16, 1 << 20)
    }
    assert {(f["kind"], f["rows"]) for f in shown["arithmetic"]} == {("fp32", 32), ("int8", 32)}
    assert all(f["best"] >= f["high"] for f in shown["bandwidth"] + shown["arithmetic"])
    start = figure_of("job start and end", "ms", [30.0, 40.0])
    figures = [start, *(figure for found in shown.values() for figure in found)]
    profile = make_profile("sha256:1", figures, noise, Interference(0.2, 0.0))
    assert profile.process_start_s == pytest.approx(0.035)
    assert 0 < profile.timer_s < 0.1
    assert len(profile.bandwidth) == 4
    assert not profile.calm
    calm = {"memory": (1.0, 1.01), "arithmetic": (1.0, 1.0)}
    told = problems(Environment(), replace(profile, noise_floor=0.01, noise=calm))
    assert [problem.what for problem in told] == [
        "while this was measured other programs used 20% of the processor"
    ]
    measured = {
        "device": TargetInfo("local").to_json(),
        "figures": figures,
        "providers": {"cpu": None},
        "profile": profile.to_json(),
        "problems": [asdict(told[0])],
        "kept": None,
    }
    text = bench.render(measured)
    assert re.search(r"working set +64 KiB +[\d.]+ +[\d.]+$", text, re.MULTILINE)
    assert "warning: while this was measured other programs used 20%" in text


def test_the_noise_floor_is_the_spread_of_a_ratio() -> None:
    """Of simulated processes: 95 % of ratios of two further ones lie within it, on average."""
    draw = random.Random(0)
    inside = total = 0
    for _ in range(4000):
        logs = [draw.gauss(0, 0.03) for _ in range(9)]
        floor = noise_floor([math.exp(x) for x in logs])
        inside += abs(draw.gauss(0, 0.03) - draw.gauss(0, 0.03)) <= floor
        total += 1
    assert inside / total == pytest.approx(0.95, abs=0.012)


def test_a_disturbed_profile_does_not_take_a_calm_ones_place(tmp_path: Path) -> None:
    figures = [
        figure_of("job start and end", "ms", [30.0, 40.0]),
        figure_of("timer resolution", "ns", [50.0, 50.0]),
    ]
    noise = [{"memory": 1.0, "arithmetic": 1.0}, {"memory": 1.01, "arithmetic": 1.0}]
    calm = make_profile("sha256:1", figures, noise, Interference(0.0, 0.0))
    busy = make_profile("sha256:1", figures, noise[::-1] * 2, Interference(0.5, 0.0))
    assert beside_earlier(busy, tmp_path) == (busy, None)  # better than none
    busy.save(tmp_path)
    assert beside_earlier(calm, tmp_path) == (calm, None)
    file = calm.save(tmp_path)
    assert beside_earlier(calm, tmp_path) == (calm, None)
    kept, told = beside_earlier(busy, tmp_path)
    assert kept == calm
    assert told is not None
    assert calm.when in told.why
    file.write_text("{")
    assert beside_earlier(busy, tmp_path) == (busy, None)


def test_bursts_do_not_widen_the_noise_floor_but_are_told() -> None:
    calm = [1.0, 1.01, 0.99, 1.005, 0.995, 1.002, 0.998]
    hit = [*calm, 1.6, 1.65, 1.7]
    assert noise_floor(hit) < 0.1
    assert bursts({"memory": hit, "arithmetic": calm}) == (3, pytest.approx(0.7, abs=0.02))
    assert bursts({"memory": calm, "arithmetic": calm}) == (0, 0.0)


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=40), st.floats(1e-3, 1e3))
def test_the_noise_floor_does_not_depend_on_the_unit(medians: list[float], scale: float) -> None:
    floor = noise_floor(medians)
    assert floor >= 0
    assert noise_floor([scale * m for m in medians]) == pytest.approx(floor, abs=1e-9)


@pytest.mark.parametrize(
    ("cores", "logical", "counts"),
    [(1, 1, [1]), (2, 2, [1, 2]), (6, 12, [1, 2, 4, 6, 8, 12]), (3, 3, [1, 2, 3])],
)
def test_thread_counts(cores: int, logical: int, counts: list[int]) -> None:
    assert bench.thread_counts(TargetInfo("x", cores=cores, logical_cores=logical)) == counts


def test_a_figure_is_a_median_with_quartiles() -> None:
    figure = figure_of("x", "ms", [5.0, 1.0, 3.0, 2.0, 4.0], 2)
    assert (figure["low"], figure["value"], figure["high"], figure["n"]) == (2.0, 3.0, 4.0, 5)


def test_a_failing_job_is_an_error() -> None:
    with (
        LocalTarget() as target,
        pytest.raises(ParetuneError, match=r"job_functions:fail: failed: ValueError: no"),
    ):
        bench.value_of(target, Job(Call("job_functions:fail", {"message": "no"})))


def test_figures_without_pytorch_and_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_of, "is_installed", lambda _: False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    reads = figures_of.bandwidth([1, 2], [1 << 18, 1 << 20], 0.05)
    assert [(f["threads"], f["bytes"]) for f in reads] == [
        (n, size) for n in (1, 2) for size in (1 << 18, 1 << 20)
    ]
    assert all(0 < f["low"] <= f["value"] <= f["best"] for f in reads)
    products = figures_of.arithmetic([1], 32, 0.05)
    assert {f["name"] for f in products} == {"matrix product fp32", "matrix product int8"}
    assert figures_of.noise(1, 0.05, 64, 32, 0.0)["memory"] > 0


@pytest.mark.parametrize(
    ("operator", "left", "right"), [("MatMul", "f4", "f4"), ("MatMulInteger", "u1", "i1")]
)
def test_the_model_of_one_product_computes_it(operator: str, left: str, right: str) -> None:
    weights = np.resize(np.arange(1, 98), (300, 5)).astype(right)
    model = one_product(operator, weights, np.dtype(left).name)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = np.arange(600).reshape(2, 300).astype(left) % 7
    (found,) = session.run(None, {"left": given})
    exact = given.astype("f8") @ weights.astype("f8")
    assert found.tolist() == exact.tolist()
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
