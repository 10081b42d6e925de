"""Where `genai` can spend a budget on 8 bits, and where not."""

from __future__ import annotations

from paretune.core.model import ModelInfo
from paretune.passes.genai.options import GenaiParams
from paretune.passes.quantization.node_bits import ARCHITECTURES
from paretune.passes.quantization.sensitivity_file import measured_grid

_ALGORITHMS = ("default", "gptq")


def why_no_budget(model: ModelInfo, params: GenaiParams, provider: str) -> str | None:
    """Return why a budget cannot be spent on a build, or None."""
    if params.budget is None:
        return None if params.cost is None else "cost has no effect without budget"
    if params.precision != "int4":
        return f"budget is for precision int4: with {params.precision} it has no effect"
    if provider != "cpu":
        return f"budget makes builds for cpu only, not for {provider}"
    if (params.algorithm or "default") not in _ALGORITHMS:
        return f"budget goes with algorithm default or gptq, not with {params.algorithm}"
    if params.matmul_mixed_precision is not None:
        return "budget and matmul_mixed_precision both choose matrices for 8 bits: give one of them"
    if model.model_type and model.model_type not in ARCHITECTURES:
        return (
            f"budget knows no architecture {model.model_type!r} (it knows "
            f"{', '.join(sorted(ARCHITECTURES))}); use matmul_mixed_precision"
        )
    measured = measured_grid(model)
    if measured is None:
        return "budget needs to know what each matrix's rounding costs: put `sensitivity` before it"
    if measured.get("algorithm") == "gptq" and params.algorithm != "gptq":
        return (
            "sensitivity was measured for algorithm gptq, and this build rounds to the nearest; "
            "give `sensitivity: {rounded_to: next}`"
        )
    measured = {name: measured.get(name) for name in params.grid}
    if measured != params.grid:
        return (
            f"sensitivity was measured for {_shown(measured)}, and this build has "
            f"{_shown(params.grid)}; give `sensitivity: {{rounded_to: next}}`"
        )
    return None


def _shown(grid: object) -> str:
    return str(grid).replace("'", "")
