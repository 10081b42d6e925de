"""Olive's ``input_model`` becomes ``model:``."""

from __future__ import annotations

from collections.abc import Callable

from paretune.azure.addresses import model_address
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    Fields,
    Node,
    Rule,
    apply,
    ignores,
    missing,
    no_effect,
    only,
    refused,
    shown,
    text,
)
from paretune.config.olive.reading import Generation, Workflow
from paretune.config.olive.resources import Resources, azure_text, is_resource
from paretune.core.jsontools import Json
from paretune.core.model import ModelKind
from paretune.models.tasks import TASKS as OF_ARRAYS

TASKS = ("text-generation", "text-generation-with-past")
ENCODER_TASKS = tuple(task.name for task in OF_ARRAYS)
_NETWORK = "onnxmodel"
_TYPES = {"hfmodel", "pytorchmodel", _NETWORK}
_LOADED_BY_PASS = "each pass of paretune reads the weights in the precision that it computes in"
_GENERATIVE = "paretune takes models that generate text"
_MLFLOW = "PyTorch.MLflow"
_RECOGNIZED = "the folder's own files say what it is; pickled weights are never read"
_LOAD_RULES: dict[str, Rule] = {
    "torch_dtype": ignores(_LOADED_BY_PASS),
    "dtype": ignores(_LOADED_BY_PASS),
    "device_map": ignores("each pass of paretune places the model itself"),
    "low_cpu_mem_usage": ignores("transformers does this automatically today"),
    "use_cache": ignores("each pass of paretune sets it as it needs it"),
    "token": ignores("the access token stored by Hugging Face's tools is used, if there is one"),
    "use_auth_token": ignores("the access token stored by Hugging Face's tools is used"),
    "use_safetensors": only(
        True, why="paretune reads nothing else", otherwise="weights are read from safetensors only"
    ),
    **dict.fromkeys(
        ("attn_implementation", "_attn_implementation"),
        only(
            "eager",
            "sdpa",
            why="the same attention, computed in another way: it decides how Olive exports it",
            otherwise="only the attentions eager and sdpa compute the same everywhere",
        ),
    ),
    **dict.fromkeys(
        ("quantization_method", "quantization_config"),
        refused("paretune takes a model that is not quantized yet; QLoRA quantizes it itself"),
    ),
}


_NETWORK_RULES: dict[str, Rule] = {
    "model_attributes": ignores("read from the network itself"),
    "io_config": ignores("names, types and sizes are read from the network itself"),
    "external_initializers_file_name": ignores("the network names the files of its weights"),
    "constant_inputs_file_name": refused("give constant inputs as `values` of `model:`"),
    "inference_settings": refused("name the session's settings under `runtimes`"),
    "use_ort_extensions": only(
        False, why="Olive's default", otherwise="paretune loads no operators of other packages"
    ),
    "task": ignores("a network says what it takes and gives"),
    "generative": only(False, why="Olive's default", otherwise="it takes and gives arrays here"),
}


def translate_model(
    workflow: Workflow, ledger: Ledger, placed: Callable[[str], str], resources: Resources
) -> str | None:
    """Return the model's folder, its name on the Hugging Face hub, or its address in Azure.

    Args:
        workflow: The configuration.
        ledger: Records the result for each key.
        placed: Converts a path to the form that paretune's configuration needs.
        resources: Reads a model that is given as a resource.
    """
    model, hf, kind = workflow.model, workflow.hf, given_kind(workflow)
    if not _right_type(workflow, ledger):
        for fields in (model, hf):
            fields.rest(ledger, Status.NO_EFFECT, "belongs to a model that is not supported")
        return None
    if kind is ModelKind.ONNX:
        return _network(workflow, ledger, placed, resources)
    loading = ((hf, "from_pretrained_args"), (hf, "model_loading_args"), (model, "load_kwargs"))
    for fields, name in loading:
        _loading(Fields.of(fields.take(name), ledger, nested="extra_args"), ledger)
    _task(hf.take("task") or model.take("task"), ledger)
    named, path = hf.take("model_name"), model.take("model_path")
    if path is not None:
        no_effect(ledger, "model_path says where the weights are", named)
    rules: dict[str, Rule] = {
        "io_config": Rule(_as_object, None, Status.NO_EFFECT, "only an ONNX export reads it"),
        "model_attributes": ignores("read from the model's own files"),
        "generative": only(True, why=_GENERATIVE, otherwise=_GENERATIVE),
        "model_file_format": Rule(_format, None, Status.NO_EFFECT, _RECOGNIZED),
        "dummy_inputs_func": refused("names a function of a user's script; paretune runs none"),
        "adapter_path": refused("paretune starts from a model without an adapter"),
    }
    apply(rules, model, ledger, of="a model")
    of_hf = {"dataset": refused("write it under data_configs, where paretune reads data sets")}
    apply(of_hf, hf, ledger, of="hf_config")
    return _place(path or named, workflow, ledger, placed, resources)


def _network(
    workflow: Workflow, ledger: Ledger, placed: Callable[[str], str], resources: Resources
) -> str | None:
    """Return the file of an ONNX network, or its folder."""
    model, path = workflow.model, workflow.model.take("model_path")
    file = model.take("onnx_file_name")
    if file is not None and path is not None and isinstance(path.value, str):
        try:
            path = Node(path.path, f"{path.value.rstrip('/')}/{text(file.value)}")
            ledger.translated(file.path, ("model",))
        except ValueError as error:
            ledger.unsupported(file.path, str(error))
    elif file is not None:
        ledger.unsupported(file.path, "expected a `model_path` of text, the folder of this file")
    apply(_NETWORK_RULES, model, ledger, of="an ONNX model")
    workflow.hf.rest(ledger, Status.NO_EFFECT, "an ONNX model has none")
    return _place(path, workflow, ledger, placed, resources)


def _place(
    node: Node | None,
    workflow: Workflow,
    ledger: Ledger,
    placed: Callable[[str], str],
    resources: Resources,
) -> str | None:
    if node is None:
        missing(ledger, workflow.model, "model_path", "the model's folder or name is missing")
        return None
    if is_resource(node.value):
        return resources.model(node, ("model",))
    try:
        place = azure_text(node.value, model_address) or placed(text(node.value))
    except ValueError as error:
        ledger.unsupported(node.path, str(error))
        return None
    ledger.translated(node.path, ("model",))
    return place


def _right_type(workflow: Workflow, ledger: Ledger) -> bool:
    model = workflow.model
    node = model.take("type")
    if node is None:
        missing(ledger, model, "type", "the model's type is missing")
        return False
    kind = node.value.lower() if isinstance(node.value, str) else None
    if kind not in _TYPES:
        why = f"paretune takes HfModel, PyTorchModel and ONNXModel, not {shown(node.value)}"
        ledger.unsupported(node.path, why)
        return False
    is_mlflow = model.peek("model_file_format") == _MLFLOW
    if kind == "pytorchmodel" and workflow.generation is Generation.FLAT and not is_mlflow:
        ledger.unsupported(node.path, "without an hf_config it is a pickled model, which is code")
        return False
    ledger.translated(node.path, "model")
    return True


def _task(node: Node | None, ledger: Ledger) -> None:
    if node is None or node.value is None or node.value in TASKS:
        if node is not None:
            ledger.translated(node.path, None, _GENERATIVE)
        return
    if node.value in ENCODER_TASKS:
        ledger.translated(node.path, None, "the model's own files say so: kind hf-encoder")
        return
    known = ", ".join(sorted(ENCODER_TASKS))
    ledger.unsupported(
        node.path, f"{_GENERATIVE}, and models for {known}; {shown(node.value)} is another task"
    )


def takes_text(workflow: Workflow) -> bool:
    """Return whether a model that takes arrays takes those that a tokenizer makes."""
    task = workflow.hf.peek("task") or workflow.model.peek("task")
    return takes_arrays(workflow) and task != "image-classification"


def model_place(workflow: Workflow, placed: Callable[[str], str]) -> str:
    """Return the model's folder or name, as a data set's tokenizer needs it; empty: unknown."""
    named = workflow.model.peek("model_path") or workflow.hf.peek("model_name")
    return placed(named) if isinstance(named, str) and named.strip() else ""


def given_kind(workflow: Workflow) -> ModelKind:
    """Return the kind of the input model, by its type and its task."""
    kind = workflow.model.peek("type")
    if isinstance(kind, str) and kind.lower() == _NETWORK:
        return ModelKind.ONNX
    task = workflow.hf.peek("task") or workflow.model.peek("task")
    is_encoder = isinstance(task, str) and task in ENCODER_TASKS
    return ModelKind.HF_ENCODER if is_encoder else ModelKind.HF


def takes_arrays(workflow: Workflow) -> bool:
    """Return whether the input model takes and gives arrays."""
    return given_kind(workflow) is not ModelKind.HF


def _loading(fields: Fields, ledger: Ledger) -> None:
    remote_code(fields.take("trust_remote_code"), ledger)
    apply(_LOAD_RULES, fields, ledger, of="loading a model")


def remote_code(node: Node | None, ledger: Ledger) -> None:
    """Record a ``trust_remote_code``, if there is one: a file alone never allows code to run."""
    if node is None:
        return
    if node.value in (None, False):
        ledger.translated(node.path, None, "off unless --trust-remote-code is given")
    elif node.value is True:
        ledger.approximated(
            node.path,
            "--trust-remote-code",
            "needs --trust-remote-code: a file alone never allows code to run",
        )
    else:
        ledger.unsupported(node.path, f"expected true or false, found {shown(node.value)}")


def _format(value: Json) -> Json:
    if value not in ("PyTorch.EntireModel", _MLFLOW):
        raise ValueError(
            f"paretune takes a Hugging Face folder or an MLflow folder ({_MLFLOW}), not "
            f"{shown(value)}: it is a pickle, or code"
        )
    return value


def _as_object(value: Json) -> Json:
    if not isinstance(value, dict):
        raise ValueError("names a function of a user's script; paretune runs none")
    return value
