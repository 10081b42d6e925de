"""A block of decoder layers is dropped: which one, what is left, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from paretune.core.errors import InvalidArtifactError, PassError
from paretune.core.estimate import DataSize
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.catalog import Example
from paretune.data.context import Context
from paretune.data.corpus import CorpusSpec
from paretune.models.comparison_text import TEXT
from paretune.models.handle import inspect, open_model
from paretune.models.safetensors_files import safetensors_header
from paretune.passes.genai.genai import Genai
from paretune.passes.layers import drop_layers, kept_layers
from paretune.passes.layers.angular_distance import decoder_layers
from paretune.passes.layers.drop_layers import ARCHITECTURES, DropLayers, DropLayersParams
from paretune.testing.passes import TARGET, check_pass, example
from tests.pass_bench import Bench, FakeCatalog, FakeDataset, generate, tone_data
from tests.tiny_models import make_small, make_tiny_llama

LAYERS = 5
CLASSES = {
    "gemma": "Gemma",
    "granite": "Granite",
    "llama": "Llama",
    "mistral": "Mistral",
    "olmo2": "Olmo2",
    "phi3": "Phi3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}


def _small(folder: Path, kind: str, **more: Any) -> Model:
    """Write a model of five layers with the tokenizer of the tiny Llama."""
    more |= {"original_max_position_embeddings": 256} if kind == "phi3" else {}
    settings = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "tie_word_embeddings": kind == "gemma",
        "initializer_range": 0.2,
    }
    return open_model(make_small(folder, CLASSES[kind], **{**settings, **more}))


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tied Llama of five layers."""
    place = tmp_path_factory.mktemp("five")
    return open_model(make_tiny_llama(place / "llama", layers=LAYERS))


def _details(model: Model, tmp_path: Path, catalog: Any = None, **params: Any) -> dict[str, Any]:
    """Run the pass, and return what it found."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    context = Context(out, scratch, catalog or FakeCatalog({}))
    DropLayers().run(model, DropLayersParams(**params), context)
    return context.details


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_what_is_left_is_the_source_without_the_block(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    """Compared with a network whose list of layers is cut, which the pass never makes."""
    source = _small(tmp_path, kind)
    out = bench.run(DropLayers(), source, {"drop": [1, 2]}, "dropped")
    assert _config(out)["num_hidden_layers"] == 3
    before, after = (
        load_file(source.path / "model.safetensors"),
        load_file(out / "model.safetensors"),
    )
    places = {0: 0, 1: 3, 2: 4}
    for name, tensor in after.items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(places[int(parts[2])])
        assert torch.equal(tensor, before[".".join(parts)])
    of_one = sum(name.startswith("model.layers.0.") for name in before)
    assert len(after) == len(before) - 2 * of_one > 3
    assert inspect(out).tied is inspect(source.path).tied

    whole = transformers.AutoModelForCausalLM.from_pretrained(source.path).eval()
    kept = [layer for i, layer in enumerate(whole.model.layers) if i not in (1, 2)]
    whole.model.layers = torch.nn.ModuleList(kept)
    whole.config.num_hidden_layers = 3
    built = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    ids = torch.tensor([[1, 40, 41, 50, 7, 99, 8, 120]])
    with torch.no_grad():
        expected, found = (net(ids, use_cache=False).logits for net in (whole, built))
        assert torch.allclose(expected, found, atol=1e-5)
        # With a cache, each layer needs a place of its own.
        generated = built.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert generated.shape == (1, ids.shape[1] + 4)


def test_the_block_that_turns_the_states_least_is_found(tmp_path: Path) -> None:
    """Two layers that add nearly nothing are the block to drop."""
    folder = make_tiny_llama(tmp_path / "llama", layers=6)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.startswith(("model.layers.3.", "model.layers.4.")) and name.endswith(
            ("o_proj.weight", "down_proj.weight")
        ):
            weights[name] *= 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = _details(open_model(folder), tmp_path, layers=2)
    assert found["dropped"] == [3, 4]
    assert found["layers"] == 6
    least = found["distances"][3]
    assert len(found["distances"]) == 5
    assert all(least < distance / 10 for i, distance in enumerate(found["distances"]) if i != 3)
    assert found["summary"].startswith("dropped layers 3 to 4 of 6 (counted from 0): angular ")
    assert "the smallest of 5 blocks" in found["summary"]


def test_distances_are_angles(five: Model, tmp_path: Path) -> None:
    """As transformers' own hidden states give them."""
    found = _details(five, tmp_path, drop=[1, 2])
    tokenizer = transformers.AutoTokenizer.from_pretrained(five.path)
    ids = torch.tensor([tokenizer(TEXT)["input_ids"][:256]])
    network = transformers.AutoModelForCausalLM.from_pretrained(five.path).eval()
    with torch.no_grad():
        states = network(ids, output_hidden_states=True).hidden_states
    for first in range(3):  # of the last state, transformers returns the norm
        one, other = (states[i][0, 1:].double() for i in (first, first + 2))
        cosine = torch.nn.functional.cosine_similarity(one, other, dim=-1)
        expected = float((torch.arccos(cosine) / torch.pi).mean())
        assert found["distances"][first] == pytest.approx(expected, abs=1e-5)
    least = min(range(4), key=found["distances"].__getitem__)
    told = f"is that of the block from layer {least}" if least != 1 else "the smallest of 4"
    assert told in found["summary"]
    assert found["tokens"] == 256


def test_the_same_model_gives_the_same_bytes(bench: Bench, five: Model) -> None:
    one, two = (bench.run(DropLayers(), five, {"layers": 2}, name) for name in ("one", "two"))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in five.path.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()
        assert str(five.path).encode() not in (one / name).read_bytes()


def test_half_precision_stays_what_it_is(bench: Bench, tmp_path: Path) -> None:
    source = open_model(make_tiny_llama(tmp_path / "half", layers=4, dtype="bfloat16"))
    out = bench.run(DropLayers(), source, {"layers": 1}, "dropped")
    assert {t["dtype"] for t in safetensors_header(out / "model.safetensors").values()} == {"BF16"}
    predicted = DropLayers().predict(inspect(source.path), DropLayersParams(layers=1))
    found = inspect(out)
    assert (predicted.layers, predicted.parameters) == (3, found.parameters)
    assert predicted.bytes == pytest.approx(found.bytes, rel=0.01)


def test_layers_with_windows_of_their_own(bench: Bench, tmp_path: Path) -> None:
    """Of the layers with and without a window, the kept ones stay what they were."""
    more = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
    source = _small(tmp_path, "qwen2", **more)
    whole = transformers.AutoConfig.from_pretrained(source.path).layer_types
    assert len(set(whole)) == 2
    out = bench.run(DropLayers(), source, {"drop": [2, 3]}, "dropped")
    found = transformers.AutoConfig.from_pretrained(out)
    assert found.layer_types == [whole[0], whole[1], whole[4]]
    assert found.max_window_layers == 2
    derived = {k: v for k, v in _config(out).items() if k != "layer_types"}
    assert transformers.Qwen2Config(**derived).layer_types == found.layer_types


@pytest.mark.parametrize("form", ["pairs", "text", "corpus"])
def test_texts_of_a_data_set(five: Model, tmp_path: Path, form: str) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 20
    texts = tuple(Example("", text, i) for i in range(40))
    corpus = CorpusSpec(max_length=32)
    data = {
        "pairs": tone_data(40),
        "text": FakeDataset(texts),
        "corpus": FakeDataset(texts, corpus=corpus),
    }
    params = {"data": "d", "examples": 4, "max_length": 24}
    catalog = FakeCatalog({"d": data[form]})
    found = _details(five, tmp_path, catalog, layers=1, **params)
    assert found["tokens"] <= 4 * 24
    assert (found["tokens"] == 4 * 24) or form == "pairs"
    assert DropLayers().data(DropLayersParams(layers=1, **params)) == ("d",)


def test_a_data_set_without_two_tokens_is_refused(tmp_path: Path) -> None:
    """The only token is the one that ends an example."""
    source = open_model(make_tiny_llama(tmp_path / "llama", layers=2, bos=False))
    catalog = FakeCatalog({"d": FakeDataset((Example("", "", 0),))})
    with pytest.raises(PassError, match="no text of 'd' has two tokens"):
        _details(source, tmp_path, catalog, layers=1, data="d")


def test_a_nan_is_told(tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "llama", layers=3)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PassError, match="hidden states are not finite"):
        _details(open_model(folder), tmp_path, layers=1)


def _swapped(name: str, block: range, layers: int) -> str | None:
    """A mapping that mixes up the first two layers."""
    found = RIGHT(name, block, layers)
    if found is None:
        return None
    marks = {"layers.0.": "layers.1.", "layers.1.": "layers.0."}
    for old, new in marks.items():
        if old in found:
            return found.replace(old, new)
    return found


RIGHT = kept_layers.name_without


def test_wrong_tensors_are_noticed(bench: Bench, five: Model, tmp_path: Path) -> None:
    out = bench.run(DropLayers(), five, {"drop": [4]}, "dropped")
    kept_layers.check_tensors(five, range(4, 5), LAYERS, out)
    weights = load_file(out / "model.safetensors")
    norm = weights["model.layers.0.input_layernorm.weight"]
    norm[0] = -norm[0]
    save_file(weights, out / "model.safetensors")
    with pytest.raises(InvalidArtifactError, match=r"layers\.0\.input_layernorm.* is not the sour"):
        kept_layers.check_tensors(five, range(4, 5), LAYERS, out)
    del weights["model.norm.weight"]
    save_file(weights, out / "model.safetensors")
    with pytest.raises(InvalidArtifactError, match=r"model\.norm\.weight is missing"):
        kept_layers.check_tensors(five, range(4, 5), LAYERS, out)


def test_layers_in_another_order_are_noticed(
    bench: Bench, five: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written and its check agree on the mistake; the logits tell."""
    monkeypatch.setattr(kept_layers, "name_without", _swapped)
    with pytest.raises(InvalidArtifactError, match="logits differ by up to"):
        bench.run(DropLayers(), five, {"drop": [4]}, "dropped")


def test_a_dropped_layer_that_stays_is_noticed(
    bench: Bench, five: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window of the attention belongs to a layer's number, say."""
    config = kept_layers.config_without
    monkeypatch.setattr(
        kept_layers,
        "config_without",
        lambda given, block: config(given, block) | {"num_hidden_layers": LAYERS - 2},
    )
    with pytest.raises(InvalidArtifactError, match="logits differ by up to"):
        bench.run(DropLayers(), five, {"drop": [4]}, "dropped")


@pytest.mark.parametrize(
    ("params", "changes", "why"),
    [
        ({"layers": 30}, {}, "30 of 30 layers, and at least one"),
        ({"drop": [29, 30]}, {}, "no layer 30; this model has 30"),
        ({"layers": 1}, {"quantized": "gptq"}, "quantized already"),
        ({"layers": 1}, {"model_type": "gemma2"}, "'gemma2' are, and what depends on"),
        ({"layers": 1}, {"layers": 0}, "num_hidden_layers"),
    ],
)
def test_what_cannot_be_dropped_is_refused_before_it_runs(
    params: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    info = replace(example("hf"), **changes)
    assert why in (DropLayers().check(info, DropLayersParams(**params), TARGET, "cpu") or "")


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({}, "give either layers"),
        ({"layers": 2, "drop": [1, 2]}, "give either layers"),
        ({"drop": [1, 3]}, "not consecutive"),
        ({"drop": [2, 1]}, "not consecutive"),
        ({"drop": [-1, 0]}, "not consecutive"),
        ({"drop": []}, "at least 1"),
        ({"layers": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters_that_contradict_each_other(params: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        DropLayersParams(**params)


def test_layers_elsewhere_are_told(five: Model) -> None:
    network = transformers.AutoModelForCausalLM.from_pretrained(five.path)
    del network.model.layers[0]
    with pytest.raises(PassError, match="expected 5 decoder layers in `layers` of LlamaModel, fo"):
        decoder_layers(network)


def test_tensors_beyond_the_last_layer_are_left_out() -> None:
    name = "model.layers.{}.mlp.experts.3.up.weight"
    for before, after in {0: 0, 1: None, 2: 1, 3: None}.items():
        expected = None if after is None else name.format(after)
        assert RIGHT(name.format(before), range(1, 2), 3) == expected
    assert RIGHT("layers.2.norm.weight", range(0, 2), 3) == "layers.0.norm.weight"
    assert RIGHT("model.norm.weight", range(0, 2), 3) == "model.norm.weight"


def test_it_keeps_to_the_contract(five: Model) -> None:
    check_pass("drop_layers", {"layers": 2}, model=five.path)


def test_the_time_goes_by_the_data() -> None:
    info, made = example("hf"), DropLayers()

    def seconds(size: DataSize, **params: Any) -> float:
        found = made.seconds_on(info, DropLayersParams(layers=6, **params), TARGET, lambda _: size)
        assert found is not None
        return found

    short, long = DataSize(10, 400), DataSize(10, 40_000)
    assert seconds(short, data="d") < seconds(long, data="d")
    assert seconds(long, data="d", max_length=64) < seconds(long, data="d")
    assert (
        seconds(long)
        == seconds(short)
        == made.estimate(info, DropLayersParams(layers=6), TARGET).seconds
    )


def test_its_progress_names_the_block(bench: Bench, five: Model) -> None:
    seen: list[Progress] = []
    bench.run(DropLayers(), five, {"layers": 1}, "dropped", progress=seen.append)
    notes = [each.note for each in seen]
    assert any(note and note.startswith("dropping layer ") for note in notes)
    assert drop_layers.named(range(3, 4)) == "layer 3"


def test_it_builds_in_int4_and_generates(bench: Bench, five: Model) -> None:
    dropped = open_model(bench.run(DropLayers(), five, {"layers": 2}, "dropped"))
    package = bench.run(Genai(), dropped, {"precision": "int4"}, "built")
    settings = json.loads((package / "genai_config.json").read_text())
    assert settings["model"]["decoder"]["num_hidden_layers"] == 3
    assert len(generate(package, [1, 40, 41, 50], 5)) == 5
