"""Both generations of Olive's configuration, read into one form.

Up to Olive 0.6 objects keep their settings under ``config`` (``params`` or ``params_config`` in
data configurations), a model is a ``PyTorchModel`` with an ``hf_config``, and what concerns the run
stands under ``engine``. Since 0.7 all of it is flat, and a model is an ``HfModel``. Both forms are
read wherever either may stand, as Olive itself does; the generation decides what is meant by what
is not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from paretune.config.olive.entries import Ledger, children
from paretune.config.olive.fields import Fields, Node, shown, text
from paretune.core.jsontools import Json

_CODE = frozenset({"user_script", "script_dir", "model_script", "model_loader"})
"""Keys that name Python files or functions in them, which Olive imports."""

_OF_WORKFLOW = frozenset(
    {
        "$schema",
        "workflow_id",
        "workflow_host",
        "azureml_client",
        "data_root",
        "pass_flows",
        "auto_optimizer_config",
    }
)
_BESIDE_PASS = frozenset({"host", "evaluator", "disable_search", "clean_run_cache", "output_name"})
_OF_LOADING = frozenset(
    {
        "data_name",
        "subset",
        "split",
        "data_dir",
        "data_files",
        "col_filters",
        "streaming",
        "revision",
        "token",
        "use_auth_token",
    }
)
_OF_DATALOADER = frozenset({"batch_size", "shuffle", "drop_last", "num_workers"})


class Generation(Enum):
    """Which Olive a configuration was written for."""

    NESTED = "0.6 or older"
    FLAT = "0.7 or newer"


@dataclass(frozen=True)
class PassConfig:
    """One pass.

    Attributes:
        name: Olive's name of it in this workflow.
        path: Where it stands.
        type: The pass's type; None if it is wrong.
        settings: Its parameters.
        beside: Keys about its run.
    """

    name: str
    path: tuple[str | int, ...]
    type: Node | None
    settings: Fields
    beside: Fields


@dataclass(frozen=True)
class DataConfig:
    """One data set.

    Attributes:
        name: Its name.
        own: Keys of the whole.
        load: Where its rows come from.
        prepare: How they become text.
        post: What Olive's evaluators make of a model's outputs.
        loader: How rows become batches.
    """

    name: str
    own: Fields
    load: Fields
    prepare: Fields
    post: Fields
    loader: Fields


@dataclass(frozen=True)
class Workflow:
    """A whole configuration in one form.

    Attributes:
        generation: Which Olive it was written for.
        model: The input model.
        hf: What an older configuration says of the Hugging Face model.
        data: Data configurations by name, not read yet.
        systems: Systems by name, not read yet.
        evaluators: Evaluators by name, not read yet.
        passes: Passes by name, in order; several of one name are alternatives.
        engine: What concerns the run.
        own: Keys of the workflow itself.
    """

    generation: Generation
    model: Fields
    hf: Fields
    data: dict[str, Node]
    systems: dict[str, Node]
    evaluators: dict[str, Node]
    passes: dict[str, list[PassConfig]]
    engine: Fields
    own: Fields


def read_workflow(value: dict[str, Json], ledger: Ledger) -> Workflow:
    """Read a configuration of either generation.

    Args:
        value: The JSON's object.
        ledger: Records errors.
    """
    _refuse_code(value, ledger)
    top = Fields.of(Node((), value), ledger)
    given = top.take("input_model")
    if given is not None and given.value is None:
        ledger.unsupported(given.path, "expected an object with the model, found null")
        given = None
    model = Fields.of(given, ledger, nested="config", otherwise=("input_model",))
    generation = Generation.NESTED if "hf_config" in model else Generation.FLAT
    hf = Fields.of(model.take("hf_config"), ledger)
    data = _named(top.take("data_configs"), ledger)
    systems = _by_name(top.take("systems"), ledger)
    evaluators = _by_name(top.take("evaluators"), ledger)
    passes = _passes(top.take("passes"), ledger)
    own = top.split(_OF_WORKFLOW)
    engine = Fields.of(top.take("engine"), ledger).joined(top)
    for name, node in top.drain():
        why = f"{name!r} is given twice: here and in 'engine'"
        ledger.unsupported(node.path, why)
    return Workflow(generation, model, hf, data, systems, evaluators, passes, engine, own)


def read_data(name: str, node: Node, ledger: Ledger) -> DataConfig:
    """Read a data configuration of either generation.

    Args:
        name: Its name.
        node: The configuration.
        ledger: Records errors.
    """
    own = Fields.of(node, ledger)
    found = {
        part: Fields.of(own.take(f"{part}_config"), ledger, nested="params", otherwise=node.path)
        for part in ("load_dataset", "pre_process_data", "post_process_data", "dataloader")
    }
    parameters = Fields.of(own.take("params_config"), ledger)
    for keys in (own.take("components"), parameters.take("component_kwargs")):
        parts = Fields.of(keys, ledger)
        for part in found:
            given = Fields.of(parts.take(part), ledger, nested="params")
            found[part] = found[part].joined(given)
            _left_over(given, ledger)
        for part, unknown in parts.drain():
            why = f"Olive has no data component {part!r}"
            ledger.unsupported(unknown.path, why)
    for part, names in (("load_dataset", _OF_LOADING), ("dataloader", _OF_DATALOADER)):
        given = parameters.split(names)
        found[part] = found[part].joined(given)
        _left_over(given, ledger)
    prepare = found["pre_process_data"].joined(parameters)
    _left_over(parameters, ledger)
    post, loader = found["post_process_data"], found["dataloader"]
    return DataConfig(name, own, found["load_dataset"], prepare, post, loader)


def read_models_data(name: str, node: Node, ledger: Ledger) -> DataConfig:
    """Read what a Hugging Face model's configuration says of its data (up to Olive 0.6).

    Args:
        name: Of the data set in paretune.
        node: The object.
        ledger: Records errors.
    """
    fields = Fields.of(node, ledger)
    load, loader = fields.split(_OF_LOADING), fields.split(_OF_DATALOADER)
    return DataConfig(name, Fields(node.path), load, fields, Fields(node.path), loader)


def _left_over(fields: Fields, ledger: Ledger) -> None:
    """Record keys that another place of the same data configuration has already."""
    for name, node in fields.drain():
        why = f"{name!r} is given twice, in another form too"
        ledger.unsupported(node.path, why)


def _passes(node: Node | None, ledger: Ledger) -> dict[str, list[PassConfig]]:
    found: dict[str, list[PassConfig]] = {}
    for name, each in Fields.of(node, ledger).drain():
        listed = [Node(p, v) for p, v in children(each.path, each.value)]
        alternatives = listed if isinstance(each.value, list) and listed else [each]
        found[name] = [_pass(name, one, ledger) for one in alternatives]
    return found


def _pass(name: str, node: Node, ledger: Ledger) -> PassConfig:
    settings = Fields.of(node, ledger, nested="config")
    return PassConfig(
        name, node.path, settings.take("type"), settings, settings.split(_BESIDE_PASS)
    )


def _by_name(node: Node | None, ledger: Ledger) -> dict[str, Node]:
    return dict(Fields.of(node, ledger).drain())


def _named(node: Node | None, ledger: Ledger) -> dict[str, Node]:
    """Return data configurations: a list of objects with a name each, or (0.5) an object."""
    if node is None or not isinstance(node.value, list):
        return _by_name(node, ledger)
    found: dict[str, Node] = {}
    for path, value in children(node.path, node.value):
        try:
            name = text(value["name"] if isinstance(value, dict) else None)
        except (KeyError, ValueError):
            ledger.unsupported(path, f"expected a name, found {shown(value)}")
            continue
        if name in found:
            ledger.unsupported(path, f"there is another data configuration {name!r}")
            continue
        found[name] = Node(path, value)
    return found


def _refuse_code(value: Json, ledger: Ledger) -> None:
    """Record every key that names code to run, at any place: none of it ever runs."""
    waiting: list[Node] = [Node((), value)]
    while waiting:
        node = waiting.pop()
        for path, inner in children(node.path, node.value):
            if path[-1] in _CODE and inner not in (None, ""):
                ledger.unsupported(path, "names Python code to run; paretune runs none of it")
            else:
                waiting.append(Node(path, inner))
