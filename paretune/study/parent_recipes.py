"""Which model a candidate's builds are made from: the trained one, in full precision."""

from __future__ import annotations

from paretune.config.measurable import need_of
from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.fidelity import Fidelity
from paretune.registry import find_pass
from paretune.runtimes.serving import all_runtimes, runtime_of
from paretune.search.jobs import EvaluatorSlot
from paretune.targets.worker.compared import fidelity_of


def parent_of(candidate: Candidate, kind: str, threads: int) -> Candidate | None:
    """Return a candidate's parent: the last model in full precision that a training led to.

    The recipe is followed from its start. A pass whose `fidelity` is ``changed`` trains; passes
    after it belong to the parent while they compute the same function and no other runtime is
    needed. The first pass that rounds, converts to another runtime's kind, or does not say what its
    output is, ends it. The parent is run by the runtime of its kind. What was trained on rounded
    weights has no parent: unrounded it is not what the training optimized, and its build may well
    be the better one.

    Args:
        candidate: The candidate.
        kind: Of the input model.
        threads: What the parent is run with.

    Returns:
        Its recipe and what it is run with (which is not what it is built for); None: nothing is
        trained, or on rounded weights; no runtime runs what was trained; or the candidate is that
        model itself.
    """
    runs: frozenset[str] | None = None  # the runtimes of what was trained
    count, rounded = 0, False
    for place, step in enumerate(candidate.recipe, start=1):
        pass_ = find_pass(step.name)
        params = pass_.Params(**step.params)
        fidelity = fidelity_of(pass_, params)
        if fidelity is None or fidelity is Fidelity.QUANTIZED:
            break
        kind = pass_.produces
        here = frozenset(r.name for r in all_runtimes() if kind in r.kinds | r.sources)
        if fidelity is Fidelity.CHANGED:
            runs, rounded = here, getattr(params, "quantize_for", None) is not None
        elif runs is not None and not runs & here:
            break
        if runs is not None and runtime_of(kind) is not None:
            count = place
    if rounded or not 0 < count < len(candidate.recipe):
        return None
    provider = candidate.runtime.provider if candidate.runtime.provider == "cuda" else "cpu"
    return Candidate(candidate.recipe[:count], RuntimeSettings(provider, threads))


def fits(slot: EvaluatorSlot, parent: Candidate) -> bool:
    """Return whether an evaluator can measure a parent.

    Only one that says what it needs of a session measures what a model answers: of a size, a
    parent's tells nothing of a build's.
    """
    needs = need_of(slot.name, slot.params).capabilities
    runtime = runtime_of(find_pass(parent.recipe[-1].name).produces)
    return bool(needs) and runtime is not None and (needs or frozenset()) <= runtime.offers
