"""PyTorch modules that a user's function makes, and exported programs; workers only.

Both run code that the user names: the function's, and what an exported program's file pickles.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.errors import CandidateError, InvalidArtifactError, UsageError, nearest
from paretune.core.file_functions import function_of
from paretune.models.described_module import (
    PROGRAM,
    DescribedModule,
    ModuleInput,
    read_described,
)
from paretune.models.torch_network import TorchNetwork, example_tensors, named_outputs

_TRUST = "Read that code; if you trust it, allow it with --trust-remote-code."


def load_module(folder: Path, trusted: bool, kind: type[CandidateError]) -> TorchNetwork:
    """Return a module of a folder with `FILE`, in ``eval()``.

    Args:
        folder: Has the function's code, or the exported program.
        trusted: Whether that may run.
        kind: The error to raise.

    Raises:
        CandidateError: Of `kind`: it may not run or fails, is not a module, or takes other inputs.
    """
    try:
        said = read_described(folder)
    except UsageError as error:
        raise kind(error.message, hint=error.hint) from error
    if not trusted:
        what = said.module or "an exported program"
        raise kind(f"{what} is code, which does not run by default", hint=_TRUST)
    if not said.module:
        return _program(folder / PROGRAM, kind)
    import torch

    try:
        made = function_of(said.module, folder, "module")()
    except UsageError as error:
        raise kind(error.message, hint=error.hint) from error
    except Exception as error:  # the user's function may raise anything
        raise kind(
            f"module: {said.module} failed: {type(error).__name__}: {error}",
            hint="It is called without arguments. Files that it opens beside itself are named by "
            "`files`, and opened as Path(__file__).with_name(NAME).",
        ) from error
    if not isinstance(made, torch.nn.Module):
        raise kind(
            f"module: {said.module} returned a {type(made).__name__}, expected a torch.nn.Module"
        )
    made.eval()
    keyword = _check_names(made, said, kind)
    return TorchNetwork(made, _sizes(said.inputs), keyword=keyword, names=_open(said.inputs))


def _program(file: Path, kind: type[CandidateError]) -> TorchNetwork:
    import torch

    try:
        program = torch.export.load(str(file))
    except Exception as error:  # the loader raises whatever its many parts do
        raise kind(
            f"{file.name} does not load: {type(error).__name__}: {error}",
            hint="Expected a file that torch.export.save wrote, with this version of PyTorch.",
        ) from error
    given, named = program.example_inputs or ((), {})
    names = list(program.graph_signature.user_inputs)
    tensors = [*given, *named.values()]
    if (
        not names
        or len(names) != len(tensors)
        or (given and named)
        or not all(isinstance(each, torch.Tensor) for each in tensors)
    ):
        raise kind(
            f"the exported program takes {', '.join(map(str, names)) or 'nothing'}, nested or not "
            "all tensors",
            hint="Export a module that takes tensors alone, all by position or all by name.",
        )
    names = list(named) or names
    shapes = {n.name: n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder"}
    inputs = {}
    for name, node, tensor in zip(names, program.graph_signature.user_inputs, tensors, strict=True):
        sizes = [size if isinstance(size, int) else str(size) for size in shapes[node]]
        inputs[name] = ModuleInput(tuple(sizes), str(tensor.dtype).removeprefix("torch."))
    return TorchNetwork(
        program.module(),
        _sizes(inputs),
        keyword=bool(named),
        names=_open(inputs),
        examples=dict(zip(names, tensors, strict=True)),
        program=program,
    )


def _check_names(made: Any, said: DescribedModule, kind: type[CandidateError]) -> bool:
    """Return whether inputs are given by name; refuse those that the module does not take.

    Raises:
        CandidateError: An input is missing, or there is none of that name.
    """
    takes = inspect.signature(made.forward).parameters
    kinds = {each.kind for each in takes.values()}
    named = {
        name: each
        for name, each in takes.items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    missing = [n for n, p in named.items() if p.default is p.empty and n not in said.inputs]
    if missing:
        shape = "{shape: [batch, ...], type: float32}"
        raise kind(
            f"module: forward of {type(made).__name__} takes {missing[0]!r}, which `inputs` does "
            "not describe",
            hint=f"inputs: {{{', '.join(f'{name}: {shape}' for name in missing)}}}",
        )
    strange = [name for name in said.inputs if name not in named]
    if not strange or inspect.Parameter.VAR_KEYWORD in kinds:
        return True
    if inspect.Parameter.VAR_POSITIONAL in kinds and not named:
        return False
    raise kind(
        f"module: forward of {type(made).__name__} takes no {strange[0]!r}; it takes "
        f"{', '.join(named)}",
        hint=nearest(strange[0], named),
    )


def _sizes(
    inputs: Mapping[str, ModuleInput],
) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    return {
        name: (each.type, tuple(s if isinstance(s, int) else None for s in each.shape))
        for name, each in inputs.items()
    }


def _open(inputs: Mapping[str, ModuleInput]) -> dict[str, dict[int, str]]:
    return {
        name: {at: size for at, size in enumerate(each.shape) if isinstance(size, str)}
        for name, each in inputs.items()
    }


def describe() -> None:
    """Run a folder's module once, and write what it takes and gives: a process's whole work.

    ``sys.argv`` has the folder, whose `FILE` says what the user says, and the file for the result:
    that content completed, or ``error`` and ``hint``.
    """
    folder, result = map(Path, sys.argv[1:3])
    try:
        found = described(folder)
    except CandidateError as error:
        told = {"error": error.message, "hint": error.hint}
        result.write_text(json.dumps(told), encoding="utf-8")
        return
    result.write_text(json.dumps(found.to_json()), encoding="utf-8")


def described(folder: Path) -> DescribedModule:
    """Run a folder's module once; returns what it takes and gives.

    Args:
        folder: Its code may run.

    Raises:
        InvalidArtifactError: It does not load or run, or gives something else than tensors.
    """
    import torch

    said = read_described(folder)
    network = load_module(folder, True, InvalidArtifactError)
    tensors = example_tensors(network)
    shown = ", ".join(f"{name} {list(each.shape)}" for name, each in tensors.items())
    try:
        with torch.inference_mode():
            given = network.result(_cloned(tensors))
    except Exception as error:  # the user's module may raise anything
        raise InvalidArtifactError(
            f"the module does not run on {shown}: {type(error).__name__}: {error}",
            hint="Names in `shape` stand for any size; give numbers where it takes one alone. It "
            "runs on the processor, on inputs of the `type` that is given.",
        ) from error
    every = list(given.values()) if isinstance(given, Mapping) else given
    every = list(every) if isinstance(every, (list, tuple)) else [every]
    others = [type(each).__name__ for each in every if not isinstance(each, torch.Tensor)]
    if len(others) == len(every) or {*others} - {"NoneType"}:
        raise InvalidArtifactError(
            f"the module gives {', '.join(others) or 'nothing'}: expected a tensor, or a tuple or "
            "a mapping of tensors"
        )
    outputs = _cloned(named_outputs(given))
    for name, each in outputs.items():
        if each.dtype not in _numpy_types():
            raise InvalidArtifactError(
                f"the module's output {name!r} is of the type {each.dtype}, which numpy does not "
                "have or no evaluator takes",
                hint="Convert it at the end of forward: .float().",
            )
    _require_same(outputs, network, tensors, "runs again")
    if said.module:
        again = load_module(folder, True, InvalidArtifactError)
        _require_same(outputs, again, tensors, "is made again")
    else:
        said = replace(said, inputs=_inputs_of(network))
    parameters = sum(each.numel() for each in network.module.parameters())
    return replace(said, outputs=tuple(outputs), parameters=parameters)


def _numpy_types() -> set[Any]:
    import torch

    floats = {torch.float16, torch.float32, torch.float64}
    return {*floats, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


def _cloned(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies: a module may write into what it is given, and give what it writes into."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _require_same(
    outputs: Mapping[str, Any], network: TorchNetwork, tensors: Mapping[str, Any], when: str
) -> None:
    """Refuse a module that gives something else on the same arrays: nothing could be compared.

    Raises:
        InvalidArtifactError: It does.
    """
    import torch

    with torch.inference_mode():
        found = network.call(_cloned(tensors))
    for name, before in outputs.items():
        after = found.get(name)
        if (
            after is None
            or after.shape != before.shape
            or not torch.allclose(
                after.double(), before.double(), rtol=1e-3, atol=1e-4, equal_nan=True
            )
        ):
            raise InvalidArtifactError(
                f"the module's output {name!r} is another one when it {when} on the same arrays",
                hint="Every run must give the same: no dropout in forward beside `self.training`, "
                "no numbers drawn, no state from run to run, and weights that are loaded or drawn "
                "with a seed.",
            )


def _inputs_of(network: TorchNetwork) -> dict[str, ModuleInput]:
    found = {}
    for name, (kind, shape) in network.inputs.items():
        called = network.names.get(name, {})
        sizes = (called[at] if size is None else size for at, size in enumerate(shape))
        found[name] = ModuleInput(tuple(sizes), kind)
    return found
