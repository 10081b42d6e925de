"""Systems and execution providers, the engine's folders and switches, the input model."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.config.olive import Status
from tests.config.olive.olive_files import (
    build_only,
    entry,
    flat,
    nested,
    refused,
    translation,
    whole,
)


def local(*accelerators: Any, **config: Any) -> dict[str, Any]:
    return {"s": {"type": "LocalSystem", "accelerators": list(accelerators), **config}}


def on(device: Any, *providers: str) -> dict[str, Any]:
    names = [f"{name}ExecutionProvider" for name in providers]
    return {"device": device, **({"execution_providers": names} if names else {})}


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        (on("cpu", "CPU"), ["cpu"]),
        (on("GPU", "CPU", "CUDA"), ["cpu", "cuda"]),
        (on("gpu", "Dml", "CUDA"), ["dml", "cuda"]),
        (on("gpu"), ["cuda"]),
        (on("cpu"), ["cpu"]),
        (on("cpu", "CUDA"), ["cpu"]),
    ],
)
def test_providers_are_a_choice_of_the_space(accelerator: Any, expected: list[str]) -> None:
    value = build_only(systems=local(accelerator), target="s", host="s")
    assert whole(value)["target"] == {"providers": expected}
    older = nested(
        systems={"s": {"type": "LocalSystem", "config": {"accelerators": [accelerator]}}},
        engine={"target": "s"},
    )
    assert whole(older)["target"] == {"providers": expected}


def test_the_oldest_form_names_devices_and_the_engine_names_providers() -> None:
    systems = {"s": {"type": "LocalSystem", "config": {"accelerators": ["gpu"]}}}
    engine = {"target": "s", "execution_providers": ["CUDAExecutionProvider"]}
    assert whole(nested(systems=systems, engine=engine))["target"] == {"providers": ["cuda"]}
    assert whole(nested(systems=systems, engine={"target": "s"}))["target"]["providers"] == ["cuda"]
    systems["s"]["config"]["accelerators"] = ["cpu", "GPU"]
    both = nested(systems=systems, engine={"target": "s"})
    assert whole(both)["target"]["providers"] == ["cpu", "cuda"]
    alone = nested(engine={"execution_providers": ["DmlExecutionProvider"]})
    assert whole(alone)["target"] == {"providers": ["dml"]}


def test_a_target_may_stand_where_it_is_named_and_a_host_does_not_choose_providers() -> None:
    gpu, cpu = (
        {"type": "LocalSystem", "accelerators": [on(*where)]}
        for where in (("gpu", "CUDA"), ("cpu", "CPU"))
    )
    inline = build_only(target=gpu, host=cpu)
    assert whole(inline)["target"] == {"providers": ["cuda"]}
    assert whole(build_only())["target"] == {"providers": ["cpu"]}


@pytest.mark.parametrize(
    ("systems", "key"),
    [
        ({"s": {"type": "Docker"}}, "systems.s.type"),
        ({"s": {"type": "PythonEnvironment"}}, "systems.s.type"),
        (local(on("npu", "QNN")), "systems.s.accelerators[0].device"),
        (local(on("cpu", "VitisAI")), "systems.s.accelerators[0].execution_providers"),
        (local(on("gpu", "CUDA") | {"memory": "4GB"}), "systems.s.accelerators[0].memory"),
        ({"t": {}}, "target"),
    ],
)
def test_what_paretune_does_not_run_on(systems: Any, key: str) -> None:
    assert refused(build_only(systems=systems, target="s")).keys() == {key}


def test_a_pass_runs_on_this_machine_only() -> None:
    value = build_only(systems=local() | {"far": {"type": "Docker"}}, host="s")
    value["passes"]["b"]["host"] = "s"
    whole(value)
    value["passes"]["b"]["host"] = "far"
    assert refused(value).keys() == {"passes.b.host"}


@pytest.mark.parametrize("form", [nested, flat])
def test_the_engines_folders_become_store_and_study(form: Any) -> None:
    said = {"cache_dir": "cache", "output_dir": "models"}
    value = form(engine=said) if form is nested else form(**said)
    found = translation(value)
    assert (found.folders.store, found.folders.study) == ("cache", "models")
    place = "engine." if form is nested else ""
    assert entry(found, f"{place}cache_dir").into == "--store"
    assert entry(found, f"{place}output_dir").into == "--study"


def test_a_cache_config_says_it_too() -> None:
    found = translation(build_only(cache_config={"cache_dir": ["c"], "clean_cache": True}))
    assert found.folders.store == "c"
    found.require_whole()
    shared = build_only(cache_config={"account_name": "x"}, cache_dir=["a", "https://b"])
    assert refused(shared).keys() == {"cache_config.account_name", "cache_dir"}


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("log_severity_level", 0, Status.NO_EFFECT),
        ("clean_cache", True, Status.NO_EFFECT),
        ("plot_pareto_frontier", True, Status.NO_EFFECT),
        ("no_artifacts", True, Status.APPROXIMATED),
        ("workflow_id", "w", Status.NO_EFFECT),
        ("$schema", "https://example.org", Status.NO_EFFECT),
        ("enable_shared_cache", True, Status.UNSUPPORTED),
        ("packaging_config", {"type": "Zipfile"}, Status.APPROXIMATED),
        ("packaging_config", [{"type": "Zipfile", "name": "x"}], Status.APPROXIMATED),
        ("packaging_config", {"type": "AzureMLModels"}, Status.UNSUPPORTED),
        ("packaging_config", [{"type": "Zipfile"}, {"type": "Dockerfile"}], Status.UNSUPPORTED),
        ("packaging_config", "zip", Status.UNSUPPORTED),
        ("azureml_client", {"a": 1}, Status.NO_EFFECT),
        ("auto_optimizer_config", {}, Status.UNSUPPORTED),
        ("no_such_key", 1, Status.UNSUPPORTED),
    ],
)
def test_every_other_key_of_the_engine_has_its_line(key: str, value: Any, status: Status) -> None:
    told = entry(build_only(**{key: value}), key)
    assert told.status is status
    assert told.why


def test_a_key_in_both_places_is_given_twice() -> None:
    value = nested(engine={"cache_dir": "a"}, cache_dir="b")
    assert "given twice" in refused(value)["cache_dir"]
    value = build_only()
    value["passes"]["b"]["config"] = {"precision": "fp32"}
    assert "given twice" in refused(value)["passes.b.precision"]


def model(**config: Any) -> dict[str, Any]:
    return build_only(input_model={"type": "HfModel", "model_path": "org/name", **config})


def test_a_models_name_its_task_and_how_it_is_loaded() -> None:
    value = model(
        task="text-generation-with-past",
        load_kwargs={
            "torch_dtype": "float16",
            "attn_implementation": "eager",
            "trust_remote_code": True,
            "extra_args": {"use_cache": False},
        },
        io_config={"input_names": ["x"]},
    )
    assert whole(value)["model"] == "org/name"
    trust = entry(value, "input_model.load_kwargs.trust_remote_code")
    assert (trust.status, trust.into) == (Status.APPROXIMATED, "--trust-remote-code")
    eager = entry(value, "input_model.load_kwargs.attn_implementation")
    assert (eager.status, bool(eager.why)) == (Status.NO_EFFECT, True)
    older = nested()
    older["input_model"]["config"]["model_path"] = "weights"
    assert whole(older)["model"] == "weights"


def test_an_mlflow_folder_is_a_model() -> None:
    value = nested()
    value["input_model"]["config"] |= {
        "model_path": "saved",
        "model_file_format": "PyTorch.MLflow",
    }
    assert whole(value)["model"] == "saved"
    told = entry(value, "input_model.config.model_file_format")
    assert (told.status, bool(told.why)) == (Status.NO_EFFECT, True)
    for form in ("PyTorch.MLflow", "PyTorch.EntireModel"):
        assert whole(model(model_file_format=form))["model"] == "org/name"
    # Without an hf_config it is no pickle either.
    own = model(type="PyTorchModel", model_path="saved", model_file_format="PyTorch.MLflow")
    assert whole(own)["model"] == "saved"
    for form in ("PyTorch.StateDict", "PyTorch.TorchScript", 3, ["x"]):
        assert list(refused(model(model_file_format=form))) == ["input_model.model_file_format"]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"type": "OpenVINOModel"}, "type"),
        ({"type": "PyTorchModel", "model_path": "model.pt"}, "type"),
        ({"task": "text-to-speech"}, "task"),
        ({"load_kwargs": {"quantization_method": "gptq"}}, "load_kwargs.quantization_method"),
        (
            {"load_kwargs": {"attn_implementation": "flash_attention_2"}},
            "load_kwargs.attn_implementation",
        ),
        ({"load_kwargs": {"revision": "abc"}}, "load_kwargs.revision"),
        ({"adapter_path": "a"}, "adapter_path"),
        ({"io_config": "get_io_config"}, "io_config"),
        ({"model_script": "user_script.py"}, "model_script"),
        ({"model_path": {"type": "azureml_job_output", "config": {}}}, "model_path"),
        ({"model_path": None}, "model_path"),
    ],
)
def test_models_that_are_not_taken(config: dict[str, Any], key: str) -> None:
    assert refused(model(**config)).keys() == {f"input_model.{key}"}


def test_a_workflow_needs_passes() -> None:
    assert refused(build_only(passes={})).keys() == {"passes"}
    value = build_only()
    del value["passes"]
    assert refused(value).keys() == {"passes"}


def test_code_is_refused_wherever_it_stands_and_what_is_around_it_still_has_its_line() -> None:
    value = build_only(foo={"a": 1, "b": [{"user_script": "x.py", "c": 2}]})
    value["passes"]["b"]["extra"] = {"script_dir": "d", "e": 3}
    assert refused(value).keys() == {
        "foo.a",
        "foo.b[0].user_script",
        "foo.b[0].c",
        "passes.b.extra.script_dir",
        "passes.b.extra.e",
    }
    assert entry(build_only(user_script=None), "user_script").status is Status.UNSUPPORTED
