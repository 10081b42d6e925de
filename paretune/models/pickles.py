"""Files that hold pickled objects: reading one runs whatever code it names, so none is ever read.

Each refusal says how to convert the file, once, where it is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
"""What pickled weights are called. An ONNX model may call its plain weights ``.bin``, too."""

CONVERT_MODEL = (
    "Convert it once, where you trust it: "
    'python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('IN', use_safetensors=False).save_pretrained('OUT')\"; "
    "then copy the tokenizer's files."
)
CONVERT_ADAPTER = (
    "Convert it once, where you trust it: "
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('adapter_model.bin', weights_only=True), "
    "'adapter_model.safetensors')\"."
)
CONVERT_FILE = (
    'Convert it once, where you trust it. Of a whole model: python -c "import torch; '
    "torch.load('model.pth', weights_only=False).save_pretrained('OUT')\". Of weights alone: "
    'python -c "import torch; from transformers import AutoModelForCausalLM as M; '
    "m = M.from_pretrained('BASE'); m.load_state_dict(torch.load('model.pth', weights_only=True)); "
    "m.save_pretrained('OUT')\". Then copy the tokenizer's files, and name OUT."
)
CONVERT_MLFLOW = (
    "Convert it once, where you trust it: "
    "python -c \"import mlflow; mlflow.pytorch.load_model('IN').save_pretrained('OUT')\"; "
    "then copy the tokenizer's files, and name OUT."
)

_NUMPY = "numpy.load(FILE, allow_pickle=False)"
_HOW_TO_LOAD = {
    ".npy": _NUMPY,
    ".npz": _NUMPY,
    ".pkl": "pandas.read_pickle(FILE)",
    ".pickle": "pandas.read_pickle(FILE)",
    ".pt": "torch.load(FILE, weights_only=True)",
    ".pth": "torch.load(FILE, weights_only=True)",
}


def pickled(folder: Path) -> list[str]:
    """Return the names of the files in a folder that look like pickled weights."""
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def how_to_convert(names: Iterable[str]) -> str:
    """Return how to turn pickled weights into safetensors.

    Args:
        names: Of the files; transformers itself reads ``pytorch_model*.bin`` only.
    """
    others = [name for name in names if not name.startswith("pytorch_model")]
    return CONVERT_FILE if others else CONVERT_MODEL


def convert_data(suffix: str) -> str | None:
    """Return how to turn a data file into one that is read; None if it holds no pickled objects.

    Args:
        suffix: The file's, such as ``.npy``.
    """
    how = _HOW_TO_LOAD.get(suffix.lower())
    if how is None:
        return None
    return (
        f"It may hold pickled objects. Load it once, where you trust it ({how}), and save its rows "
        "as Parquet (pandas.DataFrame(...).to_parquet('data.parquet')) or as JSON, one object a "
        "line."
    )


def what_is_there(folder: Path) -> str:
    """Return which weights a folder without safetensors holds, for a message."""
    names = pickled(folder)
    return f"only pickled ones ({', '.join(names)})" if names else "none"
