"""The options and providers with which ONNX Runtime loads a network.

The functions here are part of the program in a package, too, as text (`onnxruntime_sample`): what
was measured and what is shipped set the same options. So they use onnxruntime and the standard
library alone.
"""

from __future__ import annotations

import json
from typing import Any

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def session_options(settings: dict[str, Any], sizes: dict[str, int]) -> Any:
    """Return the options of a session.

    Args:
        settings: Of the runtime.
        sizes: Values of symbolic sizes, by name; what is rewritten may rely on them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    level = LEVELS[settings.get("graph_optimization", "all")]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    mode = "ORT_" + settings.get("execution_mode", "sequential").upper()
    options.execution_mode = getattr(onnxruntime.ExecutionMode, mode)
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = settings.get("inter_op_threads", 1)
    options.enable_cpu_mem_arena = settings.get("arena", True)
    options.enable_mem_pattern = settings.get("memory_pattern", True)
    spinning = "1" if settings.get("spinning", True) else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    options.add_session_config_entry("session.inter_op.allow_spinning", spinning)
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def execution_providers(settings: dict[str, Any]) -> list[Any]:
    """Return the providers in order, with their options.

    What the first cannot run is run by that of the processor. OpenVINO has threads of its own, and
    may compute in 16 bits unless a precision is set.
    """
    first: Any = PROVIDERS[settings["provider"]]
    if settings["provider"] == "openvino":
        device = {
            "INFERENCE_NUM_THREADS": str(settings["threads"]),
            "INFERENCE_PRECISION_HINT": settings.get("inference_precision", "f32"),
        }
        first = (first, {"device_type": "CPU", "load_config": json.dumps({"CPU": device})})
    return [first] if settings["provider"] == "cpu" else [first, PROVIDERS["cpu"]]
