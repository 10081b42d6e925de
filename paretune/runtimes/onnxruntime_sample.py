"""The program ``sample.py`` of a package with a plain ONNX network: onnxruntime and numpy alone."""

from __future__ import annotations

import inspect

from paretune.runtimes.network_runs import NetworkRuns
from paretune.runtimes.onnxruntime_options import (
    LEVELS,
    PROVIDERS,
    execution_providers,
    session_options,
)
from paretune.runtimes.raw_row_sample import ANSWER, ARRAYS, RAW_ROW


def network_sample() -> str:
    """Return the program's text; it sets the options by the functions that the session uses."""
    shared = [f"PROVIDERS = {PROVIDERS!r}\nLEVELS = {LEVELS!r}\n"]
    for each in (session_options, execution_providers, NetworkRuns):
        shared.append(inspect.getsource(each).replace("  # noqa: B905", ""))
    text = _TEMPLATE.replace("SHARED\n", "\n\n".join(shared))
    return (
        text.replace("RAW_ROW\n", RAW_ROW).replace("ARRAYS\n", ARRAYS).replace("ANSWER\n", ANSWER)
    )


_TEMPLATE = '''\
"""Runs the network in this folder: python sample.py inputs.npz (an array for each input).

With the folder paretune_rows also on a raw row: python sample.py COLUMN=VALUE ...
"""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the runtime is imported
import numpy as np
import onnxruntime

here = Path(__file__).resolve().parent
settings = json.loads((here / "paretune_runtime.json").read_text(encoding="utf-8"))
SHARED


network = here / "model.onnx"
if not network.exists():
    (network,) = here.glob("*.onnx")
declared = {}
if (here / "paretune_network.json").exists():
    declared = json.loads((here / "paretune_network.json").read_text(encoding="utf-8"))
sizes, state, values = (declared.get(key, {}) for key in ("sizes", "state", "values"))
options, providers = session_options(settings, sizes), execution_providers(settings)
session = onnxruntime.InferenceSession(str(network), options, providers=providers)
runs = NetworkRuns(session, state, sizes, values)
RAW_ROW
arrays = {}
if from_row:
    try:
        arrays = raw.batch(sys.argv[1:], runs.inputs(), steps=bool(state))
    except UsageError as error:
        sys.exit(str(error))
ARRAYS
for each in session.get_inputs():
    if each.name in state.values():
        print(f"input {each.name}: state, zeros at first, then fed back in each step")
    elif each.name in values:
        print(f"input {each.name}: always {values[each.name]}")
    elif len(sys.argv) < 2:  # ones, and one of what has no size
        kind, known = runs.inputs()[each.name]
        shape = [size or 1 for size in known]
        print(f"input {each.name}: {kind}, shape {each.shape}, taken as ones of shape {shape}")
        arrays[each.name] = np.ones(shape, dtype=kind)
    elif each.name not in arrays:
        sys.exit(f"{sys.argv[1]} has no array named {each.name}, of {each.type} {each.shape}")
try:
    results = runs.run(arrays)
except Exception as error:
    sys.exit(f"the network does not run on these arrays: {error}")
for name, value in results.items():
    print(f"{name}: shape {list(np.shape(value))}")
    print(np.array2string(np.asarray(value), threshold=50))
ANSWER
'''
