"""Each build is compared with what it was built from, in the worker that built it."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paretune.core.errors import InvalidArtifactError, ParetuneError
from paretune.core.fidelity import Cause, Compared, Fidelity, Verdict, bound
from paretune.core.jsontools import Json, digest
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.kinds.base import kind_named
from paretune.passes.base import Pass
from paretune.runtimes.serving import check_folder, source_runtime, takes_arrays
from paretune.targets.worker.compared_arrays import compare_arrays
from paretune.targets.worker.compared_cache import ComparedCache

_SKETCH_LENGTHS = (8, 48, 160)
"""Tokens of a sketch's sequences: below and beyond its windows of positions."""
_WHAT_TO_DO = {
    Cause.DEFECT: "A translator or a pass is at fault, not the model: leave this pass or these "
    "parameters out, and report it.",
    Cause.ROUNDING: "Its first layers, built alone in full precision, compute the same: the graph "
    "is right, and the model most likely does not bear this rounding. Take more bits, "
    "`algorithm: gptq`, or an adapter that is trained with `quantize_for: next`; report it if it "
    "has 8 bits already.",
    Cause.SOURCE: "The model that is built is at fault. If it was trained here, the training "
    "diverged: take a lower learning rate, or a dtype with a larger range.",
    Cause.UNKNOWN: "Either the model does not bear this rounding, or the pass is at fault. Take "
    "more bits; report it if it has 8 bits already.",
}
_ROUNDED_NETWORK = (
    "Either the network does not bear this rounding, or the pass is at fault. At 4 bits, take 8; "
    "leave nodes in fp32 (`nodes_to_exclude`, and `op_types_to_quantize` where the pass has it); "
    "or take `onnx_mixed`, which measures the nodes to leave, with a larger `budget` if it was "
    "that pass. Report it if none of these helps."
)


@dataclass(frozen=True)
class Origin:
    """What a step's output is compared with.

    Attributes:
        direct: The step's input.
        source: The model in full precision that the steps since then approximate; the step's input
            if none does.
        name: Of the source, for people.
    """

    direct: Model
    source: Model
    name: str


def input_digest(model: Model) -> str:
    """Return the digest of everything that a pass is given: an adapter's base belongs to it."""
    if model.base is None:
        return model.digest
    return digest([model.digest, input_digest(model.base)])


def fidelity_of(pass_: Pass, params: Any) -> Fidelity | None:
    """Return what a pass's output is to its input; None if the pass does not say."""
    told: Callable[[Any], Fidelity] | None = getattr(pass_, "fidelity", None)
    return None if told is None else Fidelity(told(params))


def what_to_do(verdict: Verdict) -> str:
    """Return the hint for a build that is not what it was built from."""
    if verdict.of_arrays and verdict.cause is Cause.UNKNOWN:
        return _ROUNDED_NETWORK
    return _WHAT_TO_DO[verdict.cause]


def compare(
    pass_: Pass,
    params: Any,
    made: Model,
    origin: Origin,
    context: Context,
    cache: ComparedCache,
    rows: str = "",
) -> Verdict:
    """Return what a build is to what it was built from.

    Args:
        pass_: What built it.
        params: With which parameters.
        made: The build.
        origin: What it is compared with.
        context: The pass's context; its scratch folder is used.
        cache: What earlier builds of the same source left.
        rows: Data set of arrays that networks are compared on; empty: made-up ones.

    Raises:
        InvalidArtifactError: The build does not load or run.
    """
    fidelity = fidelity_of(pass_, params)
    arrays = takes_arrays(made.kind)
    if fidelity is None:
        return Verdict(
            None,
            f"pass {pass_.name!r} does not say what its output is to its input, so that nothing "
            "was compared (a method `fidelity` says it: docs/extending.md)",
            of_arrays=arrays,
        )
    if fidelity is Fidelity.CHANGED:
        return Verdict(None, f"{pass_.name} makes another model on purpose", of_arrays=arrays)
    reference = origin.source if fidelity is Fidelity.QUANTIZED else origin.direct
    for model in (reference, made):
        if source_runtime(model.kind) is None:
            return Verdict(
                None, f"a model of kind {model.kind} cannot be run as it is", of_arrays=arrays
            )
    context.progress(Progress(pass_.name, 0, 0, "comparing it with what it was built from"))
    if arrays:
        return compare_arrays(fidelity, made, reference, origin.name, context, cache, rows)
    found = _whole(reference, made, context, cache)
    if isinstance(found, str):
        return Verdict(None, found)
    compared, tokenizers = found
    most = bound(fidelity, context.provider)
    figures = {**compared.to_json(), "bound": most, "fidelity": fidelity.value}
    cause = Cause.DEFECT
    reason, beside = None, None
    if not math.isfinite(compared.information):
        cause = Cause.SOURCE
        reason = f"{origin.name}, which it was built from, gives values that are not finite"
    elif tokenizers is not None:
        reason = (
            f"its tokenizer is not that of {origin.name}, which it was built from: {tokenizers} "
            f"({compared.shown()})"
        )
    elif compared.outside(fidelity, context.provider):
        reason = (
            f"computes something else than {origin.name}, which it was built from: "
            f"{compared.shown()}; up to {most:g} of that is right for a build that is "
            f"{fidelity.value}"
        )
        if fidelity is Fidelity.QUANTIZED and math.isfinite(compared.kl):
            beside, wrong = _structure(pass_, params, origin, context, cache)
            cause = _cause(beside, wrong)
    else:
        beside, reason = _structure(pass_, params, origin, context, cache)
    return Verdict(figures, reason, reason is None, beside, cause=cause)


def _cause(sketched: Mapping[str, Json] | None, wrong: str | None) -> Cause:
    """Return what a sketch says of a quantized build that is outside its bound."""
    if wrong is not None:
        return Cause.DEFECT
    found = isinstance((sketched or {}).get("sketch"), Mapping)
    return Cause.ROUNDING if found else Cause.UNKNOWN


def _whole(
    reference: Model, made: Model, context: Context, cache: ComparedCache
) -> tuple[Compared, str | None] | str:
    """Compare two models on the text.

    Returns:
        The figures, and how the tokenizers differ, if they do; or why nothing can be compared.
    """
    from paretune.runtimes.next_tokens import LENGTHS, divergence, sequences, text_ids

    trusted = context.trust_remote_code
    vocabulary, room = _limits(reference, made)
    if not vocabulary:
        return "its source does not say how many tokens it knows"
    key = cache.key(input_digest(reference), vocabulary, room, list(LENGTHS), context.provider)
    kept = cache.arrays(key)
    if kept is None:
        ids = text_ids(reference, trust_remote_code=trusted)
        texts = sequences(ids, vocabulary, room)
        try:
            before = _logits(reference, texts, context)
        except InvalidArtifactError as error:
            return f"its source does not run: {error.message}"
        cache.keep_arrays(key, [ids or [], *texts, *before])
    else:
        ids = kept[0].tolist() or None
        texts = [each.tolist() for each in kept[1 : 1 + len(kept) // 2]]
        before = kept[1 + len(kept) // 2 :]
    own = text_ids(made, trust_remote_code=trusted)
    differ, theirs = None, texts
    if ids is not None and own is not None and ids != own:
        first = next((n for n, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b), 0)
        differ = f"it gives one text other tokens, from token {first} on"
        # Each is given what its own tokenizer makes of the text, cut to the same lengths.
        cut = [own[: len(each)] for each in texts]
        if max(own) < vocabulary and [*map(len, cut)] == [*map(len, texts)]:
            theirs = cut
    return divergence(before, _logits(made, theirs, context)), differ


def _logits(model: Model, texts: list[list[int]], context: Context) -> Any:
    """Run a model and let it go: two of them at once need not fit into memory."""
    from paretune.runtimes.next_tokens import logits_of

    runtime = source_runtime(model.kind)
    assert runtime is not None
    check_folder(model)
    with runtime.comparing(model, context.provider, context.trust_remote_code) as session:
        try:
            return logits_of(session, texts)
        finally:
            del session
            gc.collect()


def _limits(reference: Model, made: Model) -> tuple[int, int]:
    """Return the tokens that both know, and the positions that both have room for (0: unknown)."""
    known = [_known(model) for model in (reference, made)]
    vocabulary = min((v for v, _ in known if v), default=0)
    return vocabulary, min((room for _, room in known if room), default=0)


def _known(model: Model) -> tuple[int, int]:
    """Return a model's vocabulary and context, as its folder says; 0 where it does not."""
    decoder = kind_named(model.kind).decoder(model)
    return (0, 0) if decoder is None else (decoder.vocabulary, decoder.context)


def _structure(
    pass_: Pass, params: Any, origin: Origin, context: Context, cache: ComparedCache
) -> tuple[dict[str, Json] | None, str | None]:
    """Compare a sketch, where the pass makes one: what rounding hides in the large model.

    Returns:
        What to keep of it, and why the build is not what it was built from, if so.
    """
    sketch: Callable[..., tuple[Model, Model] | None] | None = getattr(pass_, "sketch", None)
    if sketch is None:
        return None, None
    key = cache.key(
        input_digest(origin.direct),
        pass_.name,
        pass_.version,
        context.provider,
        pass_.sketched(params, context.provider),  # type: ignore[attr-defined]
    )
    kept = cache.value(key)
    if kept is None:
        try:
            pair = sketch(origin.direct, params, replace(context, out=context.scratch))
            kept = {} if pair is None else _sketched(*pair, context).to_json()
        # It is one look more: a model of which no small one can be made is none the worse.
        except Exception as error:
            said = error.message if isinstance(error, ParetuneError) else f"{error!r}"[:200]
            return {"sketch": f"not compared: {said}"}, None
        cache.keep_value(key, kept)
    if not kept:
        return None, None
    found = Compared.from_json(kept)
    fidelity = Fidelity.FP32 if context.provider != "dml" else Fidelity.FP16
    if not found.outside(fidelity, context.provider):
        return {"sketch": found.to_json()}, None
    reason = (
        f"computes something else than {origin.name}, which it was built from: its first layers, "
        f"built alone in full precision, have {found.shown()} on {max(found.lengths)} tokens"
    )
    return {"sketch": found.to_json()}, reason


def _sketched(small: Model, built: Model, context: Context) -> Compared:
    from paretune.runtimes.next_tokens import divergence, sequences

    vocabulary, room = _limits(small, built)
    texts = sequences(None, vocabulary, room, _SKETCH_LENGTHS)
    return divergence(_logits(small, texts, context), _logits(built, texts, context))
