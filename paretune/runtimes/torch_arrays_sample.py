"""The program ``sample.py`` of a package that PyTorch runs on arrays."""

from __future__ import annotations

import inspect

from paretune.models.tasks import TASKS
from paretune.models.torch_network import TOKEN_INPUTS, named_outputs
from paretune.runtimes.raw_row_sample import ANSWER, ARRAYS, RAW_ROW


def torch_sample() -> str:
    """Return the program's text; it names outputs as they are named in a measurement."""
    return _SAMPLE.format(
        names=TOKEN_INPUTS,
        autos={task.suffix: task.auto for task in TASKS},
        named_outputs=inspect.getsource(named_outputs),
        raw_row=RAW_ROW,
        arrays=ARRAYS,
        answer=ANSWER,
    )


_SAMPLE = '''\
"""Runs the model in this folder: python sample.py inputs.npz (an array for each input).

With the folder paretune_rows also on a raw row: python sample.py COLUMN=VALUE ...
"""

import importlib.util
import inspect
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

AUTO = {autos}
INPUTS = {{name: ("int64", (None, None)) for name in {names}}}
INPUTS["pixel_values"] = ("float32", (None, None, None, None))
here = Path(__file__).resolve().parent


{named_outputs}

def of_hugging_face():
    """Return the model, and ones for its inputs."""
    import transformers

    config = json.loads((here / "config.json").read_text(encoding="utf-8"))
    architecture = config["architectures"][0]
    auto = next(name for suffix, name in AUTO.items() if architecture.endswith(suffix))
    model = getattr(transformers, auto).from_pretrained(
        here, local_files_only=True, dtype=torch.float32
    )
    if model.main_input_name != "pixel_values":
        return model.eval(), {{"input_ids": np.ones((1, 8), "int64")}}
    size = getattr(model.config, "image_size", None) or 224
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    shape = (1, model.config.num_channels, height, width)
    return model.eval(), {{"pixel_values": np.ones(shape, "float32")}}


def of_module(said):
    """Return the module, and ones for its inputs; open sizes are 8, the first one 1."""
    if said["module"]:
        file, _, name = said["module"].rpartition(":")
        sys.path.insert(0, str(here))
        spec = importlib.util.spec_from_file_location("paretune_module", here / file)
        code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(code)
        model = getattr(code, name)().eval()
    else:
        program = torch.export.load(here / "program.pt2")
        model = program.module()
        model.by_name = bool(program.example_inputs and program.example_inputs[1])
    ones = {{}}
    for name, each in said["inputs"].items():
        sizes = enumerate(each["shape"])
        shape = [n if isinstance(n, int) else 8 if at else 1 for at, n in sizes]
        ones[name] = np.ones(shape, each["type"])
    return model, ones


said = {{}}
if (here / "paretune_module.json").exists():
    said = json.loads((here / "paretune_module.json").read_text(encoding="utf-8"))
model, arrays = of_module(said) if said else of_hugging_face()
takes = inspect.signature(model.forward).parameters
inputs = {{
    name: (each["type"], tuple(n if isinstance(n, int) else None for n in each["shape"]))
    for name, each in said.get("inputs", {{}}).items()
}}
{raw_row}if from_row:
    if not said:
        inputs = {{name: INPUTS[name] for name in INPUTS if name in takes and name in raw.inputs}}
    try:
        arrays = raw.batch(sys.argv[1:], inputs)
    except UsageError as error:
        sys.exit(str(error))
{arrays}lacking = [name for name in inputs if name not in arrays]
if lacking:
    sys.exit(f"no array for the input {{lacking[0]}}; the model takes {{', '.join(inputs)}}")
tensors = {{name: torch.tensor(array) for name, array in arrays.items()}}
with torch.inference_mode():
    # An exported program takes its inputs as it was exported, mostly by position.
    by_name = said.get("module", True) and set(tensors) <= set(takes)
    if not said or by_name or getattr(model, "by_name", False):
        outputs = model(**tensors)
    else:
        outputs = model(*(tensors[name] for name in said["inputs"]))
results = {{name: value.numpy() for name, value in named_outputs(outputs).items()}}
for name, value in results.items():
    print(f"{{name}}: shape {{list(value.shape)}}")
    print(np.array2string(value, threshold=50))
{answer}'''
