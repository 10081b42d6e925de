"""The forms of ``model:`` in a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, StrictFloat, StrictInt, Tag

from paretune.config.section import Section


class NetworkSource(Section):
    """An ONNX network with what its file does not say."""

    path: str = Field(description="An ONNX file, or a folder with one.")
    sizes: dict[str, Annotated[int, Field(ge=1, strict=True)]] = Field(
        {}, description="Values of symbolic sizes of inputs, by name; `INPUT[AXIS]` without one."
    )
    state: dict[str, str] = Field(
        {}, description="Output to the input that it is fed back to in the next step."
    )
    values: dict[str, StrictBool | StrictInt | StrictFloat] = Field(
        {}, description="Input to the value that it always has, such as a sampling rate."
    )


class ModuleInputSection(Section):
    """An input of a PyTorch module."""

    shape: list[Annotated[int, Field(ge=1, strict=True)] | Annotated[str, Field(min_length=1)]] = (
        Field(description="Sizes; a name stands for any size, the same one in all inputs.")
    )
    type: Literal[
        "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"
    ] = Field("float32", description="As numpy calls it.")


class ModuleSource(Section):
    """A function that returns a PyTorch module; it needs --trust-remote-code."""

    module: str = Field(
        pattern=r"^.+\.py:[A-Za-z_]\w*$",
        description="`file.py:function`, called without arguments; returns a torch.nn.Module.",
    )
    inputs: dict[str, ModuleInputSection] = Field(
        {}, description="What the module takes, by the names of `forward`'s arguments."
    )
    files: list[str] = Field(
        [], description="Files below the function's folder that it opens, such as weights."
    )


PLACE, NETWORK, MODULE = "place", "network", "module"


def _model_form(value: Any) -> str:
    """Return which form of ``model:`` was written."""
    if isinstance(value, ModuleSource) or (isinstance(value, dict) and "module" in value):
        return MODULE
    return NETWORK if isinstance(value, (dict, NetworkSource)) else PLACE


ModelSource = Annotated[
    Annotated[str, Tag(PLACE)]
    | Annotated[NetworkSource, Tag(NETWORK)]
    | Annotated[ModuleSource, Tag(MODULE)],
    Discriminator(_model_form),
]
