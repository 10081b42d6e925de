"""The pass ``genai``: builds an ONNX Runtime GenAI model with the model builder's functions."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from paretune.errors import PassError
from paretune.models import Model, ModelInfo, ModelKind
from paretune.passes import base
from paretune.passes.base import Context, Estimate, Progress
from paretune.passes.genai_options import GenaiParams, expected_bytes, why_not

if TYPE_CHECKING:
    from paretune.targets.base import TargetInfo

# Measured on SmolLM2-135M with two cores: imports, then seconds and bytes of memory a weight.
_SECONDS_TO_START = 4.0
_SECONDS_A_WEIGHT = 40e-9
_SECONDS_A_WEIGHT_K_QUANT = 260e-9
_MEMORY_TO_START = 500_000_000
_MEMORY_A_WEIGHT = 6
_MEMORY_A_WEIGHT_QUANTIZED = 12
_MEMORY_A_WEIGHT_K_QUANT = 17


class Genai:
    """Builds an ONNX Runtime GenAI model, quantized to 8 or 4 bits if asked for."""

    name: ClassVar[str] = "genai"
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.HF})
    produces: ClassVar[ModelKind] = ModelKind.GENAI
    Params: ClassVar[type[base.Params]] = GenaiParams
    packages: ClassVar[tuple[str, ...]] = (
        "onnxruntime-genai",
        "onnxruntime",
        "onnx",
        "onnx-ir",
        "torch",
        "transformers",
    )
    provider_matters: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def data(self, params: GenaiParams) -> tuple[str, ...]:
        """Return no data set: it reads none."""
        return ()

    def check(
        self, model: ModelInfo, params: GenaiParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why the build would not load, or which parameter would change nothing."""
        return why_not(model, params, provider)

    def estimate(self, model: ModelInfo, params: GenaiParams, target: TargetInfo) -> Estimate:
        """Return size, memory and time, scaled from what was measured on a small model."""
        if not model.parameters:
            return Estimate()
        seconds, memory = _SECONDS_A_WEIGHT, _MEMORY_A_WEIGHT
        if params.base_algorithm == "k_quant":
            seconds, memory = _SECONDS_A_WEIGHT_K_QUANT, _MEMORY_A_WEIGHT_K_QUANT
        elif params.quantized:
            memory = _MEMORY_A_WEIGHT_QUANTIZED
        return Estimate(
            bytes_out=expected_bytes(model, params),
            peak_memory=_MEMORY_TO_START + memory * model.parameters,
            seconds=_SECONDS_TO_START + seconds * model.parameters,
        )

    def predict(self, model: ModelInfo, params: GenaiParams) -> ModelInfo:
        """Return the build's facts."""
        return replace(
            model,
            kind=ModelKind.GENAI,
            bytes=expected_bytes(model, params) or 0,
            precision=params.precision,
            built_with=params.model_dump(mode="json"),
        )

    def run(self, model: Model, params: GenaiParams, context: Context) -> None:
        """Write the ONNX model, its configuration and the tokenizer.

        Where the run-time's tokenizer gives other tokens than the Hugging Face one, a file
        ``paretune_tokenizer.json`` says so (`paretune.passes.genai_tokenizer`).

        Raises:
            PassError: The builder refuses the model, or a node to exclude is not there.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the first import
        from paretune.passes.genai_tokenizer import note_differences

        context.progress(Progress("genai", 0, 2, f"building {params.precision}"))
        with _quietly(), _without_git():
            _build(model, params, context)
        _require_nodes(params, context)
        context.progress(Progress("genai", 1, 2, "comparing tokenizers"))
        note_differences(model.path, context)


def _build(model: Model, params: GenaiParams, context: Context) -> None:
    import logging

    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    options = [*params.builder_options(), "hf_token=false"]
    if context.trust_remote_code:
        options.append("hf_remote=true")
    cache = str(context.scratch / "builder")
    where = (None, str(model.path), str(context.out), params.precision, context.provider, cache)
    try:
        create_model(*where, **parse_extra_options(*where, options))
    except (NotImplementedError, ValueError) as error:
        raise PassError(
            f"genai: the model builder refuses: {error}",
            hint="See the candidate's log for what it printed.",
        ) from error


def _require_nodes(params: GenaiParams, context: Context) -> None:
    """The builder passes over a name to exclude that no node has."""
    if not params.nodes_to_exclude:
        return
    import onnx

    graph = onnx.load(context.out / "model.onnx", load_external_data=False).graph
    names = {node.name for node in graph.node if node.op_type == "MatMul"}
    missing = [name for name in params.nodes_to_exclude if name not in names]
    if missing:
        known = [node.name for node in graph.node if node.op_type.startswith("MatMul")]
        some = sorted({name.rsplit("_Q", 1)[0] for name in known})[:12]
        raise PassError(
            f"genai: nodes_to_exclude names {missing[0]!r}, and no MatMul has that name",
            hint=f"Some that there are: {', '.join(some)}.",
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
