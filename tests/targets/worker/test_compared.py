"""Each build is held against what it was built from: right ones pass, wrong ones are found."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from safetensors.torch import load_file, save_file

from paretune.core.candidate import Step
from paretune.core.errors import InvalidArtifactError
from paretune.core.fidelity import KL, TOP1, Cause, Fidelity, Verdict, measurements
from paretune.core.job import Build
from paretune.core.model import Model, ModelKind
from paretune.core.params import NoParams
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.passes.genai.adapter import GenaiAdapter
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.matmul_nbits import MatMulNBits
from paretune.passes.lora.merge import Merge
from paretune.store.artifacts import Store
from paretune.targets.worker import building
from paretune.targets.worker.compared import Origin, compare
from paretune.targets.worker.compared_cache import ComparedCache
from tests.pass_bench import Bench, FakeCatalog
from tests.passes.genai.test_adapter import make_adapter
from tests.tiny_models import make_tiny_llama

YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 128}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
INT4 = {"precision": "int4"}


@pytest.fixture(scope="module", autouse=True)
def as_in_a_worker() -> Iterator[None]:
    """What is imported is not looked at by each collection of garbage, as in the fork server."""
    import onnxruntime_genai.models.builder  # noqa: F401
    import transformers.generation  # noqa: F401

    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ComparedCache:
    """What builds of one source leave for the next."""
    return ComparedCache(tmp_path_factory.mktemp("compared"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({}))


def model(folder: Path, rope: dict[str, Any] | None = None, **how: Any) -> Model:
    make_tiny_llama(folder, **how)
    if rope is not None:
        config = json.loads((folder / "config.json").read_text())
        config["rope_parameters"] = {"rope_theta": 10000.0, **rope}
        (folder / "config.json").write_text(json.dumps(config))
    return open_model(folder)


def held(
    tmp_path: Path,
    pass_: Any,
    params: dict[str, Any],
    made: Path,
    source: Model,
    kind: ModelKind = ModelKind.GENAI,
    cache: ComparedCache | None = None,
) -> Any:
    scratch = tmp_path / f"scratch-{made.parent.name}"
    scratch.mkdir()
    context = Context(out=scratch, scratch=scratch, data=None)  # type: ignore[arg-type]
    origin = Origin(source, source, "the input model")
    model = Model(kind, made, "")
    cache = cache or ComparedCache(tmp_path / "compared")
    return compare(pass_, pass_.Params(**params), model, origin, context, cache)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"precision": "int8"},
        INT4,
        {**INT4, "block_size": 128},
        {**INT4, "algorithm": "k_quant"},
    ],
    ids=str,
)
@pytest.mark.parametrize("rope", [None, LLAMA3], ids=["plain", "llama3"])
def test_a_right_build_is_valid(
    bench: Bench,
    tmp_path: Path,
    cache: ComparedCache,
    params: dict[str, Any],
    rope: dict[str, Any] | None,
) -> None:
    source = model(tmp_path / "model", rope)
    made = bench.run(Genai(), source, params, "b")
    verdict = held(tmp_path, Genai(), params, made, source, cache=cache)
    assert verdict.valid, verdict.reason
    ratio = verdict.compared["kl"] / verdict.compared["information"]
    assert ratio < (0.5 if params else 1e-6)
    if params:
        sketch = verdict.beside["sketch"]
        assert sketch["kl"] < 1e-6 * sketch["information"]
    found = measurements(verdict)
    assert found[KL].value == found[KL].low == verdict.compared["kl"]
    assert 0.3 < found[TOP1].value <= 1.0  # type: ignore[operator]


@pytest.mark.parametrize("params", [{}, {"precision": "int8"}, INT4], ids=str)
@pytest.mark.parametrize(
    "rope",
    [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 8.0}, YARN],
    ids=["linear 2", "linear 8", "yarn"],
)
def test_a_build_that_leaves_the_rope_scaling_out_is_not(
    bench: Bench, tmp_path: Path, cache: ComparedCache, params: dict[str, Any], rope: dict[str, Any]
) -> None:
    source = model(tmp_path / "model", rope)
    plain = model(tmp_path / "plain", {"rope_type": "default"})  # what such a builder makes of it
    out = bench.run(Genai(), plain, params, "b")
    genai = Genai()

    class Ignores:
        name, version = "genai", 1
        Params = genai.Params
        fidelity, sketched = genai.fidelity, genai.sketched

        def sketch(self, given: Model, params: Any, context: Context) -> Any:
            small, _ = genai.sketch(given, params, context)  # type: ignore[misc]
            other = Context(out=context.out, scratch=tmp_path / "other", data=context.data)
            return small, genai.sketch(plain, params, other)[1]  # type: ignore[index]

    verdict = held(tmp_path, Ignores(), params, out, source, cache=cache)
    assert not verdict.valid
    assert "computes something else than the input model, which it was built from" in verdict.reason
    assert KL in verdict.reason
    assert TOP1 in verdict.reason
    assert verdict.cause is Cause.DEFECT


def changed(source: Model, change: Callable[[Path, Path], None]) -> Model:
    """Return a copy of a model with a change made to its folder."""
    folder = source.path.parent / "changed"
    shutil.copytree(source.path, folder)
    change(source.path, folder)
    return open_model(folder)


def other_weights(source: Path, out: Path) -> None:
    shutil.copyfile(
        make_tiny_llama(source.parent / "stranger", seed=9) / "model.safetensors",
        out / "model.safetensors",
    )


def other_tokenizer(source: Path, out: Path) -> None:
    content = json.loads((out / "tokenizer.json").read_text())
    content["model"]["merges"] = content["model"]["merges"][:5]
    (out / "tokenizer.json").write_text(json.dumps(content))


def a_nan(source: Path, out: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["model.layers.1.input_layernorm.weight"][3] = float("nan")
    save_file(weights, out / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("params", [{}, INT4], ids=str)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [(other_weights, "computes something else"), (other_tokenizer, "its tokenizer is not")],
)
def test_another_models_weights_or_tokenizer(
    bench: Bench,
    tmp_path: Path,
    cache: ComparedCache,
    params: dict[str, Any],
    wrong: Callable[..., None],
    said: str,
) -> None:
    source = model(tmp_path / "model")
    out = bench.run(Genai(), changed(source, wrong), params, "b")
    verdict = held(tmp_path, Genai(), params, out, source, cache=cache)
    assert not verdict.valid
    assert said in verdict.reason
    assert KL in verdict.reason
    # Of other weights, a right graph is all that is seen.
    expected = Cause.ROUNDING if wrong is other_weights and params else Cause.DEFECT
    assert verdict.cause is expected


def test_a_merge_is_held_against_base_and_adapter(bench: Bench, tmp_path: Path) -> None:
    base = model(tmp_path / "model")
    adapter = make_adapter(base, tmp_path / "adapter", seed=1)
    right = bench.run(Merge(), adapter, {}, "right")
    assert held(tmp_path, Merge(), {}, right, adapter, ModelKind.HF).valid
    shutil.copytree(adapter.path, tmp_path / "scaled")
    file = tmp_path / "scaled" / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "lora_alpha": 1.1 * config["lora_alpha"]}))
    scaled = Model(ModelKind.HF_ADAPTER, tmp_path / "scaled", "sha256:x", base)
    wrong = bench.run(Merge(), scaled, {}, "wrong")
    assert not held(tmp_path, Merge(), {}, wrong, adapter, ModelKind.HF).valid


def test_an_adapter_apart_and_a_second_quantizer(bench: Bench, tmp_path: Path) -> None:
    base = model(tmp_path / "model")
    adapter = make_adapter(base, tmp_path / "adapter", seed=1)
    apart = bench.run(GenaiAdapter(), adapter, INT4, "apart")
    assert held(tmp_path, GenaiAdapter(), INT4, apart, adapter).valid
    fp32 = bench.run(Genai(), base, {}, "fp32")
    source = Model(ModelKind.GENAI, fp32, "sha256:f")
    out = bench.run(MatMulNBits(), source, {"bits": 4}, "nbits")
    assert held(tmp_path, MatMulNBits(), {"bits": 4}, out, source).valid


class Copy:
    """A pass of an earlier day: it does not say what its output is."""

    name: ClassVar[str] = "copy"
    version: ClassVar[int] = 1
    produces: ClassVar[ModelKind] = ModelKind.HF
    packages: ClassVar[tuple[str, ...]] = ()
    provider_matters: ClassVar[bool] = False
    Params: ClassVar[Any] = NoParams
    ran: ClassVar[int] = 0

    def run(self, model: Model, params: Any, context: Context) -> None:
        type(self).ran += 1
        shutil.copytree(model.path, context.out, dirs_exist_ok=True)


class Same(Copy):
    """One that says it, and does it."""

    def fidelity(self, params: Any) -> Fidelity:
        return Fidelity.FP32


class Breaks(Same):
    """One that says it, and does not."""

    def run(self, model: Model, params: Any, context: Context) -> None:
        super().run(model, params, context)
        other_weights(model.path, context.out)


def job(tmp_path: Path, source: Model) -> Build:
    return Build(
        model=source,
        recipe=(Step("copy"),),
        provider="cpu",
        store=tmp_path / "store",
        data={"specs": {}, "root": str(tmp_path), "allow_network": False},
    )


@pytest.mark.parametrize("kind", [Copy, Same, Breaks])
def test_the_verdict_is_kept_with_the_artifact(
    tmp_path: Path, kind: type[Copy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_pass", lambda name: kind())
    monkeypatch.setattr(building, "is_ours", lambda *_: True)
    task = job(tmp_path, model(tmp_path / "model"))
    seen: list[Progress] = []
    kind.ran = 0
    for _ in range(2):
        if kind is Breaks:
            with pytest.raises(InvalidArtifactError, match="computes something else"):
                building.build(task, seen.append)
            continue
        told = building.build(task, seen.append).fidelity
        assert told is not None
        if kind is Copy:
            assert told.compared is None
            assert "does not say what its output is to its input" in (told.reason or "")
        else:
            assert told.compared is not None
            assert told.compared["top1"] == 1.0
    assert kind.ran == 1
    compared = [p for p in seen if p.note.startswith("comparing")]
    assert len(compared) == (0 if kind is Copy else 1)
    (action,) = Store(tmp_path / "store").actions()
    assert action.note["fidelity"]["valid"] is (kind is not Breaks)


@pytest.mark.parametrize(
    ("bad", "cause"), [("source", Cause.SOURCE), ("build", Cause.DEFECT)], ids=str
)
def test_values_that_are_not_finite_are_no_rounding(
    bench: Bench, tmp_path: Path, bad: str, cause: Cause
) -> None:
    source = model(tmp_path / "model")
    broken = changed(source, a_nan)
    out = bench.run(Genai(), broken, {**INT4, "accuracy_level": 1}, "b")
    held_against = broken if bad == "source" else source
    verdict = held(tmp_path, Genai(), INT4, out, held_against)
    assert not verdict.valid
    assert verdict.cause is cause
    assert ("not finite" in verdict.reason) is (bad == "source")


def test_without_a_sketch_the_cause_is_not_known(bench: Bench, tmp_path: Path) -> None:
    source = model(tmp_path / "model")
    fp32 = bench.run(Genai(), changed(source, other_weights), {}, "fp32")
    wrong = Model(ModelKind.GENAI, fp32, "sha256:f")
    out = bench.run(MatMulNBits(), wrong, {"bits": 4}, "nbits")
    verdict = held(tmp_path, MatMulNBits(), {"bits": 4}, out, source)
    assert (verdict.valid, verdict.cause) == (False, Cause.UNKNOWN)


@pytest.mark.parametrize("cause", Cause)
def test_what_to_do_depends_on_the_cause(
    tmp_path: Path, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_pass", lambda name: Breaks())
    monkeypatch.setattr(building, "is_ours", lambda *_: True)

    def found(*given: Any, **more: Any) -> Verdict:
        return replace(compare(*given, **more), cause=cause)

    monkeypatch.setattr(building, "compare", found)
    task = job(tmp_path, model(tmp_path / "model"))
    for _ in range(2):  # the second time as it was noted with the artifact
        with pytest.raises(InvalidArtifactError) as told:
            building.build(task, lambda progress: None)
        assert told.value.hint is not None
        assert ("Take more bits" in told.value.hint) is (cause in (Cause.ROUNDING, Cause.UNKNOWN))
        assert ("not the model" in told.value.hint) is (cause is Cause.DEFECT)
