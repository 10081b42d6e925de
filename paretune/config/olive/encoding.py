"""How rows become what an encoder takes: Olive's pre-processing becomes ``inputs``, ``process``."""

from __future__ import annotations

from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    Fields,
    Rule,
    apply,
    ignores,
    missing,
    nearly,
    only,
    takes,
    texts,
    whole,
)
from paretune.config.olive.model import remote_code
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""What a tokenizer of BERT's family makes."""
_IMAGES = (
    "a user's script prepares images in Olive, and paretune runs none; a data set of images here "
    "has `read: {COLUMN: image}` and `process`, the folder of the model's image processor"
)
_RULES: dict[str, Rule] = {
    "type": only(
        "huggingface_pre_process",
        why="how Olive prepares text for encoders",
        otherwise="prepares rows by another component; paretune takes the model's tokenizer",
    ),
    "max_samples": takes("limit", whole),
    "task": nearly("the model's own files say what it is for"),
    "model_name": nearly("the input model's own tokenizer is used"),
    "name": ignores("the name of a component, which changes nothing"),
    "batch_size": ignores("paretune makes its own batches"),
    "align_labels": only(False, why="Olive's default", otherwise="labels are taken as they are"),
    "kwargs": nearly("the tokenizer's own settings are used"),
}


def encoded(prepare: Fields, process: str | None, at: Path, ledger: Ledger) -> dict[str, Json]:
    """Return what a data set of arrays is made from.

    Args:
        prepare: Olive's parameters.
        process: The input model, whose tokenizer is used; None: it is not known.
        at: The place of the data set in paretune's configuration.
        ledger: Records the result for each key.
    """
    remote_code(prepare.take("trust_remote_code"), ledger)
    columns = _names(prepare, ("input_cols",), (*at, "inputs"), ledger)
    answer = _names(prepare, ("label_cols", "label_col"), (*at, "target"), ledger)
    if not process:
        process = _tokenizer(prepare, (*at, "process"), ledger)
    found = apply(_RULES, prepare, ledger, at, of="preparing rows for an encoder")
    if columns is None:
        missing(ledger, prepare, "input_cols", "Olive needs the columns with text")
        columns = ["text"]
    if answer is None:
        answer = ["label"]
        ledger.absent((*prepare.path, "label_col"), (*at, "target"), "Olive's default: label")
    second = columns[1] if len(columns) > 1 else columns[0]
    inputs: dict[str, Json] = dict(zip(INPUTS, (columns[0], second, columns[0]), strict=True))
    ledger.absent(
        (*prepare.path, "model_inputs"),
        (*at, "inputs"),
        "the inputs of BERT's family; leave out what your network does not take",
        Status.APPROXIMATED,
    )
    read: Json = {column: "text" for column in columns}
    return {"inputs": inputs, "read": read, "process": process, "target": answer[0], **found}


def pictured(prepare: Fields, at: Path, ledger: Ledger) -> dict[str, Json]:
    """Refuse how images are prepared: Olive has no component for it, so a user's script does."""
    kind = prepare.take("type")
    missing(ledger, prepare, "type", _IMAGES, kind)
    prepare.rest(ledger, Status.NO_EFFECT, "belongs to a component that is not supported")
    return {"inputs": {"pixel_values": "image"}, "read": {"image": "image"}}


def _tokenizer(prepare: Fields, into: Path, ledger: Ledger) -> str | None:
    """Return the tokenizer that the data name, for an ONNX model, which brings none."""
    node = prepare.take("model_name")
    if node is None or not isinstance(node.value, str) or not node.value.strip():
        why = "an ONNX model brings no tokenizer: expected the name of one"
        missing(ledger, prepare, "model_name", why, node)
        return None
    ledger.translated(node.path, into)
    return node.value


def _names(prepare: Fields, keys: tuple[str, ...], into: Path, ledger: Ledger) -> list[str] | None:
    """Return the columns that a key names; None if it is not there."""
    node = prepare.take(*keys)
    if node is None or node.value is None:
        if node is not None:
            ledger.no_effect(node.path, "null has the same meaning as a missing key")
        return None
    try:
        found = texts(node.value)
        if len(found) > 2:
            raise ValueError("a tokenizer takes one text or two")
    except ValueError as error:
        ledger.unsupported(node.path, str(error))
        return None
    ledger.translated(node.path, into)
    return found
