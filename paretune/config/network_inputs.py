"""Whether data sets of arrays and evaluators name inputs and outputs that the network has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from paretune.config.plan import EvaluatorChoice
from paretune.config.yaml_source import Wrong
from paretune.core.errors import nearest
from paretune.data.references import references_of
from paretune.data.spec import DataSpec
from paretune.models.handle import detect_kind
from paretune.models.kinds.base import kind_named
from paretune.registry import find_evaluator


def check_network_inputs(
    model: Path,
    data: Mapping[str, DataSpec],
    evaluators: Sequence[EvaluatorChoice],
    wrong: Wrong,
) -> None:
    """Refuse inputs and outputs that a network does not have, before anything runs.

    Args:
        model: The input model; one whose files do not name them is not checked.
        data: The data sets, by name.
        evaluators: What is measured.
        wrong: Called for each mistake with its key, message and hint.
    """
    names = kind_named(detect_kind(model)).array_names(model)
    if names is None:
        return
    outputs = names.outputs
    for name, spec in data.items():
        if spec.inputs is not None and names.inputs is not None:
            _check_inputs(name, [*spec.inputs, *names.constant], names.inputs, wrong)
    arrays = {ref for n, s in data.items() if s.inputs is not None for ref in references_of(n, s)}
    for i, choice in enumerate(evaluators):
        kind = find_evaluator(choice.name)
        params = kind.Params(**choice.params)
        if "output" not in kind.Params.model_fields or arrays.isdisjoint(kind(params).data):
            continue
        output: str | None = params.model_dump()["output"]
        key = ("evaluate", i, choice.name)
        if output is None and len(outputs) > 1:
            wrong(
                key,
                f"the network has the outputs {', '.join(outputs)}, and none is named",
                "Name one: `output: NAME`.",
            )
        elif output is not None and output not in outputs:
            wrong(
                (*key, "output"), f"the network has no output {output!r}", nearest(output, outputs)
            )


def _check_inputs(name: str, given: Collection[str], inputs: Sequence[str], wrong: Wrong) -> None:
    strange = [each for each in given if each not in inputs]
    for each in strange:
        wrong(
            ("data", name, "inputs", each),
            f"the network has no input {each!r}",
            nearest(each, inputs),
        )
    missing = [each for each in inputs if each not in given]
    if missing and not strange:
        wrong(
            ("data", name, "inputs"),
            f"the network takes {', '.join(map(repr, missing))}, too",
            "Name the column of each input: `inputs: {INPUT: COLUMN}`.",
        )
