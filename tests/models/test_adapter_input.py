"""An adapter as the input model: its base is found and used, or it is refused at the key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config import Plan, load
from paretune.core.errors import UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.adapter_input import base_of, check_adapter, inspect_adapter
from paretune.models.handle import open_model
from paretune.passes.lora.lora import Lora
from paretune.passes.lora.merge import Merge
from paretune.testing import check_kind
from tests.pass_bench import Bench, FakeCatalog, tone_data
from tests.tiny_models import make_tiny_llama

Adapter = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base and an adapter of it, as `lora` writes one."""
    place = tmp_path_factory.mktemp("trained")
    base = make_tiny_llama(place / "base")
    bench = Bench(place, FakeCatalog({"t": tone_data()}))
    params = {"train": "t", "r": 2, "max_steps": 3, "learning_rate": 0.05}
    return base, bench.run(Lora(), open_model(base), params, "adapter")


@pytest.fixture
def adapter(trained: tuple[Path, Path], tmp_path: Path) -> Adapter:
    """Return a function that lays base and adapter side by side, with settings changed."""

    def lay(**settings: Any) -> Path:
        if not (tmp_path / "base").exists():
            shutil.copytree(trained[0], tmp_path / "base")
            shutil.copytree(trained[1], tmp_path / "adapter")
        file = tmp_path / "adapter" / "adapter_config.json"
        content = json.loads(file.read_text()) | {"base_model_name_or_path": "base"} | settings
        file.write_text(json.dumps(content))
        return tmp_path / "adapter"

    return lay


def plan(root: Path, *passes: Any, **more: Any) -> Plan:
    rows = [{"t": f"text {i}", "y": ["joy", "fear"][i % 2]} for i in range(12)]
    (root / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": "adapter",
        "data": {"d": {"file": "d.jsonl", "prompt": "{t}", "answer": "{y}"}},
        "passes": list(passes),
        "evaluate": [{"classification": {"data": "d"}}],
        "objectives": {"maximize": "accuracy"},
        **more,
    }
    (root / "c.yaml").write_text(yaml.safe_dump(config))
    return load(root / "c.yaml")


@pytest.mark.parametrize("written", ["base", "../base", "{absolute}"])
def test_the_base_is_found_from_each_place(adapter: Adapter, tmp_path: Path, written: str) -> None:
    folder = adapter(base_model_name_or_path=written.format(absolute=tmp_path / "base"))
    assert base_of(folder, tmp_path).resolve() == (tmp_path / "base").resolve()
    assert plan(tmp_path, "merge").base is not None


def test_what_is_merged_is_what_the_passes_would_have_made(
    adapter: Adapter, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    base, made = trained
    folder = adapter()
    catalog = FakeCatalog({})
    own = Model(ModelKind.HF_ADAPTER, made, "", open_model(base))
    first = Bench(tmp_path, catalog).run(Merge(), own, {}, "first")
    found = open_model(folder, base_of(folder, tmp_path))
    assert found.base is not None
    second = Bench(tmp_path, catalog).run(Merge(), found, {}, "second")
    name = "model.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_default_baseline_of_an_adapter_is_the_merged_one(
    adapter: Adapter, tmp_path: Path
) -> None:
    from paretune.preflight.prepared import PreparedSearch
    from paretune.store.artifacts import Store

    adapter()
    for passes, expected in (
        (["merge"], ["merge"]),
        (["merge", {"genai": {"precision": "int8"}}], ["merge", "genai"]),
        ([{"genai_adapter": {"precision": "int8"}}], ["merge", "genai"]),
    ):
        prepared = PreparedSearch(plan(tmp_path, *passes), Store(tmp_path / "store"))
        try:
            assert [step.name for step in prepared.baseline.recipe] == expected
            assert prepared.look(prepared.baseline).reason is None
            assert prepared.model.base is not None
            assert prepared.identity()["base"]["model"] == prepared.model.base.digest
        finally:
            prepared.target.close()


def test_an_adapters_facts_are_its_bases(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter(use_dora=True)
    info = inspect_adapter(folder, tmp_path / "base")
    assert (info.kind, info.model_type, info.layers) == (ModelKind.HF_ADAPTER, "llama", 2)
    assert info.built_with == {"r": 2, "use_dora": True}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base_model_name_or_path": None}, "base_model_name_or_path is None"),
        ({"base_model_name_or_path": " "}, "base_model_name_or_path is ' '"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7"),
        ({"base_model_name_or_path": "no/such/folder"}, "there is no such model folder"),
        ({"base_model_name_or_path": "."}, "there is no such model folder"),
        ({"base_model_name_or_path": "some/model"}, "the network is off"),
        ({"peft_type": "PREFIX_TUNING"}, "peft_type is 'PREFIX_TUNING', expected 'LORA'"),
        ({"peft_type": None}, "peft_type is None, expected 'LORA'"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS', expected 'CAUSAL_LM'"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_model(
    adapter: Adapter, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    adapter(**settings)
    with pytest.raises(UsageError, match=told) as refused:
        plan(tmp_path, "merge")
    assert refused.value.exit_status == 2
    assert "Put `merge` after `lora`" not in str(refused.value)
    assert "model" in str(refused.value)


def test_an_adapter_of_an_adapter_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    adapter(base_model_name_or_path="other")
    shutil.copytree(tmp_path / "adapter", tmp_path / "other")
    with pytest.raises(UsageError, match="kind hf-adapter, expected hf"):
        plan(tmp_path, "merge")


def test_an_adapter_beside_full_weights_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tmp_path / "base" / name, folder)
    with pytest.raises(UsageError, match="lie in one folder"):
        plan(tmp_path, "merge")


def test_an_adapter_with_pickled_weights_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UsageError, match=r"expected weights in adapter_model\.safetensors"):
        plan(tmp_path, "merge")


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        ([{"genai": {"precision": "fp32"}}], "genai takes hf"),
        ([{"lora": {"train": "d"}}, "merge"], "lora takes hf"),
    ],
)
def test_passes_that_take_full_models_are_told_to_merge_first(
    adapter: Adapter, tmp_path: Path, passes: list[Any], told: str
) -> None:
    adapter()
    with pytest.raises(UsageError, match=told) as refused:
        plan(tmp_path, *passes)
    assert "put `merge` first" in str(refused.value)


def test_a_chain_that_ends_with_an_adapter_is_refused(adapter: Adapter, tmp_path: Path) -> None:
    adapter()
    with pytest.raises(UsageError, match="the input model is an adapter"):
        plan(tmp_path)
    with pytest.raises(UsageError, match="the resulting model is an adapter"):
        plan(tmp_path, {"lora": {"train": "d"}}, model="base")


@pytest.mark.parametrize("changes", [{"hidden_size": 96}, {"layers": 1}])
def test_an_adapter_that_does_not_fit_is_refused_by_tensor(
    adapter: Adapter, tmp_path: Path, changes: dict[str, int]
) -> None:
    adapter(base_model_name_or_path="other")
    make_tiny_llama(tmp_path / "other", **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"adapter_model\.safetensors: .*lora_[AB]"):
        plan(tmp_path, "merge")


def test_a_tokenizer_of_the_adapters_own_is_told(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter()
    text = (tmp_path / "base" / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text + "\n")
    (note,) = check_adapter(folder, tmp_path / "base")
    assert not note.fatal
    assert "the base's is used" in note.message


@pytest.mark.parametrize("same", [True, False])
def test_a_chat_template_of_the_adapters_own_is_told(
    adapter: Adapter, tmp_path: Path, same: bool
) -> None:
    folder = adapter()
    text = (tmp_path / "base" / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(text if same else text + "!")
    found = [finding.message for finding in check_adapter(folder, tmp_path / "base")]
    assert len(found) == (not same)
    assert all("chat_template.jinja" in message for message in found)


def test_a_revision_that_is_not_what_is_used_is_told(adapter: Adapter, tmp_path: Path) -> None:
    folder = adapter(base_model_name_or_path="some/model", revision="abc")
    (note,) = check_adapter(folder, tmp_path / "base")
    assert not note.fatal
    assert "revision 'abc'" in note.message
    folder = adapter(base_model_name_or_path="some/model", revision="main")
    assert not list(check_adapter(folder, tmp_path / "base"))


def test_the_kind_keeps_to_its_suite(adapter: Adapter, tmp_path: Path) -> None:
    check_kind("hf-adapter", adapter(), root=tmp_path)
