"""The pass ``genai``: builds an ONNX Runtime GenAI model with the model builder's functions."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paretune.core.distributions import package_version
from paretune.core.errors import PassError, nearest
from paretune.core.estimate import DataSize, Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.models.containment import check_model
from paretune.models.handle import inspect
from paretune.passes.base import PassBase
from paretune.passes.genai.budget import why_no_budget
from paretune.passes.genai.builder_errors import told
from paretune.passes.genai.builder_support import unsupported
from paretune.passes.genai.calibration import (
    DAMP_PERCENT,
    Calibration,
    calibration_rows,
    calibration_seconds,
)
from paretune.passes.genai.options import GenaiParams, expected_bytes, options_for, why_not

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# Measured by benchmarks/foresight.py with two cores, on Llamas of 0.3, 47, 135 and 362 million
# weights. The libraries are imported already where jobs are forked; half of their pages count.
_SECONDS_TO_START = 0.3
_SECONDS_A_WEIGHT = 20e-9
_SECONDS_A_WEIGHT_QUANTIZED = 45e-9
_SECONDS_A_WEIGHT_K_QUANT = 260e-9
_MEMORY_TO_START = 240_000_000
# What is held beside whole models while the largest matrix is worked on, in units of it: 1.2 to 2.7
# were seen where it is cast, turned and rounded, 3 to 5 with rtn, 9 to 10.5 with k_quant.
_WORKING_COPIES = 2.0
_WORKING_COPIES_RTN = 5.0
_WORKING_COPIES_K_QUANT = 10.5
_WITHOUT_GPTQ = {"algorithm": None, "calibration": None, "damp_percent": None}


class Genai(PassBase):
    """Builds an ONNX Runtime GenAI model, quantized to 8 or 4 bits if asked for."""

    name = "genai"
    version = 3
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.GENAI
    Params = GenaiParams
    packages: ClassVar[tuple[str, ...]] = (
        "onnxruntime-genai",
        "onnxruntime",
        "onnx",
        "onnx-ir",
        "torch",
        "transformers",
        "scipy",
    )
    provider_matters = True

    def data(self, params: GenaiParams) -> tuple[str, ...]:
        """Return the reference of the data set that gptq is calibrated on, if one is named."""
        calibration = params.calibration
        return () if calibration is None or calibration.data is None else (calibration.data,)

    def fidelity(self, params: GenaiParams) -> Fidelity:
        """Return that it computes the same, in its precision, or approximates it."""
        return params.fidelity

    def device_matters(self, params: GenaiParams) -> bool:
        """Return whether a budget is spent by the times of the device that builds."""
        return params.cost == "time"

    def sketched(self, params: GenaiParams, provider: str) -> Json:
        """Return what a sketch depends on beside the model."""
        return params.sketched(provider)

    def sketch(
        self, model: Model, params: GenaiParams, context: Context
    ) -> tuple[Model, Model] | None:
        """Write a small model of the same structure and its build in full precision."""
        return sketch(model, params, context)

    def check(
        self, model: ModelInfo, params: GenaiParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why the build would not load, or which parameter would change nothing."""
        if model.quantized:
            return refusal(model.quantized, self.name)
        return (
            model.unbuildable
            or why_not(model, params, provider)
            or why_no_budget(model, params, provider)
        )

    def estimate(self, model: ModelInfo, params: GenaiParams, target: TargetInfo) -> Estimate:
        """Return size, memory and time, scaled from what was measured on small models.

        The model is held as its file has it. To be quantized it is copied whole into fp32, and what
        is finished is held beside that. What gptq holds once this is gone is less.
        """
        size = expected_bytes(model, params)
        if size is None:
            return Estimate()
        held = (4 if model.precision == "fp32" else 2) * model.parameters
        seconds, copies = _SECONDS_A_WEIGHT, _WORKING_COPIES
        if params.quantized:
            held += 4 * model.parameters + size
            seconds = _SECONDS_A_WEIGHT_QUANTIZED
        held = max(held, 4 * model.parameters)  # beside it, the model is run in fp32
        if params.base_algorithm == "k_quant":
            seconds, copies = _SECONDS_A_WEIGHT_K_QUANT, _WORKING_COPIES_K_QUANT
        elif params.base_algorithm == "rtn":
            copies = _WORKING_COPIES_RTN
        # The head, in fp32: in a small model nothing comes near it.
        largest = 4 * model.vocab_size * model.hidden_size
        return Estimate(
            bytes_out=size,
            peak_memory=int(_MEMORY_TO_START + held + copies * largest),
            seconds=_with_calibration(
                _SECONDS_TO_START + seconds * model.parameters, model, params, None
            ),
        )

    def seconds_on(
        self,
        model: ModelInfo,
        params: GenaiParams,
        target: TargetInfo,
        size: Callable[[str], DataSize],
    ) -> float | None:
        """Return the expected time, by the length of the texts that gptq is calibrated on."""
        alone = self.estimate(model, params.model_copy(update=_WITHOUT_GPTQ), target).seconds
        return None if alone is None else _with_calibration(alone, model, params, size)

    def predict(self, model: ModelInfo, params: GenaiParams) -> ModelInfo:
        """Return the build's facts."""
        return replace(
            super().predict(model, params),
            bytes=expected_bytes(model, params) or 0,
            precision=params.precision,
        )

    def run(self, model: Model, params: GenaiParams, context: Context) -> None:
        """Write the ONNX model, its configuration and the tokenizer.

        Where the runtime's tokenizer gives other tokens than the Hugging Face one, a file
        ``paretune_tokenizer.json`` says so (`paretune.passes.genai.tokenizer`).

        Raises:
            PassError: The builder refuses the model, or a node to exclude is not there.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the first import
        from paretune.passes.genai.tokenizer import note_differences

        context.progress(Progress("genai", 0, 2, f"building {params.precision}"))
        build(model, params, context)
        _require_nodes(params, context)
        if params.algorithm == "gptq" or params.budget is not None:
            _round_again(model, params, context)
        context.progress(Progress("genai", 1, 2, "comparing tokenizers"))
        note_differences(model.path, context)


def _with_calibration(
    alone: float,
    model: ModelInfo,
    params: GenaiParams,
    size: Callable[[str], DataSize] | None,
) -> float | None:
    """Return the seconds of a build with what gptq adds to them."""
    if params.algorithm != "gptq":
        return alone
    more = calibration_seconds(model, params.calibration or Calibration(), size)
    return None if more is None else alone + more


def _round_again(model: Model, params: GenaiParams, context: Context) -> None:
    """Give matrices of a build other bits, codes and scales, as its parameters ask."""
    from paretune.passes.genai.calibrated import calibrate
    from paretune.passes.genai.matrix_costs import costs_of
    from paretune.passes.genai.mixed_bits import mix
    from paretune.passes.hugging_face import load_fp32, use_all_cores
    from paretune.passes.quantization.sensitivity_file import Sensitivity

    use_all_cores()
    network = load_fp32(model.path, context).eval()
    if params.budget is not None:
        context.progress(Progress("genai", 0, 2, "choosing matrices for 8 bits"))
        measured = Sensitivity.read(model.path)
        costs = costs_of(params, context.kernel_times)
        context.details.update(mix(context.out, network, measured, params.budget, costs))
    if params.algorithm == "gptq":
        rows = calibration_rows(model, params.calibration or Calibration(), context)
        damping = DAMP_PERCENT if params.damp_percent is None else params.damp_percent
        calibrate(context.out, network, rows, damping, context.progress)
        context.details["calibration_tokens"] = sum(map(len, rows))


def build(
    model: Model, params: GenaiParams, context: Context, *, adapter: Path | None = None
) -> None:
    """Let the model builder write into ``context.out``.

    Args:
        model: A Hugging Face folder.
        params: How.
        context: What the pass runs with.
        adapter: A PEFT adapter of the model, to be built into the graph.

    Raises:
        PassError: The builder refuses.
        UsageError: The model names files outside of its folder, or has pickled weights only.
    """
    check_model(model.path)
    with _quietly(), _without_git():
        _create(model, params, context, adapter)
    if params.shared_by_us and params.shares_embeddings(inspect(model.path)):
        from paretune.passes.genai.shared_embedding import share_embedding

        share_embedding(context.out)


def sketch(model: Model, params: GenaiParams, context: Context) -> tuple[Model, Model] | None:
    """Write the first layers of a model, and their build in full precision, into the scratch.

    Args:
        model: A Hugging Face folder.
        params: How the large build was made; what rounds is left out.
        context: What the pass runs with.

    Returns:
        The small model and its build; None if the large one hides nothing.

    Raises:
        PassError: There is no small model of this architecture, or the builder refuses it.
    """
    from paretune.passes.genai.sketch import beyond, write_sketch

    if params.precision == "fp32" and not beyond(model.path):
        return None  # the whole model shows it
    small, out = context.scratch / "sketch", context.scratch / "sketch-built"
    why = write_sketch(model, small, context)
    if why is not None:
        raise PassError(why)
    out.mkdir()
    whole = params.in_full_precision(context.provider)
    source = Model(ModelKind.HF, small, "")
    build(source, whole, replace(context, out=out))
    return source, Model(ModelKind.GENAI, out, "")


def _create(model: Model, params: GenaiParams, context: Context, adapter: Path | None) -> None:
    import logging

    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    options = [*params.builder_options(), *options_for(model.path), "hf_token=false"]
    if (
        params.shared_embeddings is None
        and not params.shared_by_us
        and not inspect(model.path).tied
    ):
        options.append("shared_embeddings=false")  # whatever the configuration says
    if context.trust_remote_code:
        options.append("hf_remote=true")
    if adapter is not None:
        options.append(f"adapter_path={adapter}")
    cache = str(context.scratch / "builder")
    where = (None, str(model.path), str(context.out), params.precision, context.provider, cache)
    try:
        create_model(*where, **parse_extra_options(*where, options))
    except (NotImplementedError, ValueError, LookupError, AttributeError, TypeError) as error:
        file = model.path / "config.json"
        builder = f"the model builder (onnxruntime-genai {package_version('onnxruntime-genai')})"
        known = unsupported(file, read_model_json(file), builder)
        raise PassError(
            f"genai: {known or told(error, model.path, context.scratch)}",
            hint="See the candidate's log for what it printed.",
        ) from error


def _require_nodes(params: GenaiParams, context: Context) -> None:
    """The builder passes over a name to exclude that no node has."""
    if not params.nodes_to_exclude:
        return
    import onnx

    from paretune.passes.genai.twin_nodes import names_of

    graph = onnx.load(context.out / "model.onnx", load_external_data=False).graph
    names = names_of(graph)
    missing = [name for name in params.nodes_to_exclude if name not in names["plain"]]
    if missing:
        known = sorted({*names["plain"], *names["quantized"]})
        near = nearest(missing[0], known)
        some = f"Some that there are: {', '.join(known[:12])}."
        raise PassError(
            f"genai: nodes_to_exclude names {missing[0]!r}, and no MatMul has that name",
            hint=near if near.startswith("Did") else some,
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the builder prints, and show it only if it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except BaseException:
        sys.stderr.write(said.getvalue())
        raise


@contextlib.contextmanager
def _without_git() -> Iterator[None]:
    """Hide any git repository from the builder.

    It writes the commit of whatever repository its own files lie below into the model (a virtual
    environment inside a checkout: the checkout's), so that the same build had other bytes after
    each commit. Without one it falls back to its package's.
    """
    before = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["GIT_DIR"]
        else:
            os.environ["GIT_DIR"] = before
