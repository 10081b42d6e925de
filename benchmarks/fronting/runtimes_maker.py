"""Makes models with OpenVINO and llama.cpp; runs in the environment of `peers/runtimes.sh`.

runtimes_maker.py '{"maker": "OpenVINO", "source": "…", "out": "…", "make": {…}}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))


def openvino_source(gguf: Path, out: Path) -> None:
    """Write a GGUF file as OpenVINO's model, with its state inside."""
    import openvino_genai

    openvino_genai.LLMPipeline(gguf, "CPU", enable_save_ov_model=True)
    for file in gguf.parent.glob("openvino_model.*"):
        file.rename(out / file.name)


def openvino_model(source: Path, out: Path, make: Mapping[str, Any], rows: list[list[int]]) -> None:
    """Compress the weights of OpenVINO's model."""
    import nncf
    import openvino as ov

    model = ov.Core().read_model(source / "openvino_model.xml")
    if make:
        given = dict(make)
        mode = nncf.CompressWeightsMode(given.pop("mode"))
        if given.pop("calibrated", False):
            given["dataset"] = nncf.Dataset([_inputs(model, ids) for ids in rows])
        model = nncf.compress_weights(model, mode=mode, **given)
    ov.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)


def _inputs(model: Any, ids: list[int]) -> dict[str, Any]:
    given = {
        "input_ids": np.array([ids], dtype=np.int64),
        "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
        "position_ids": np.arange(len(ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    names = {name for port in model.inputs for name in port.get_names()}
    return {name: value for name, value in given.items() if name in names}


def main(asked: Mapping[str, Any]) -> None:
    """Make what is asked for."""
    source, out, make = Path(asked["source"]), Path(asked["out"]), asked["make"]
    if asked["maker"] == "OpenVINO source":
        openvino_source(source, out)
    elif asked["maker"] == "OpenVINO":
        openvino_model(source, out, make, asked["rows"])
    else:
        from fronting.llama_cpp import quantize

        tensors = {name: kind for name, kind in make.items() if name != "file"}
        quantize(Path(asked["library"]), source, out / "model.gguf", make["file"], tensors)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
