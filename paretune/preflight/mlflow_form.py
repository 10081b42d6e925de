"""Whether every model that a search could pick can be written as an MLflow folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.config.space_building import fitting_kinds
from paretune.core.errors import UsageError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import detect_kind
from paretune.models.mlflow_writing import KINDS, check_form
from paretune.search.space import PassSlot

if TYPE_CHECKING:
    from paretune.config import Plan


def check_picks(plan: Plan) -> None:
    """Refuse ``--mlflow`` where the pick may be a model without that form.

    The dry run and the search call it before anything else.

    Args:
        plan: A checked configuration.

    Raises:
        UsageError: A recipe ends in another kind than a Hugging Face model, or the input model
            needs Python code of its own.
    """
    begin = frozenset({detect_kind(plan.model)})
    recipes = [plan.baseline or (), *(c.recipe for c in plan.try_first)]
    chains = [plan.space.stages, *(tuple(PassSlot(s.name) for s in r) for r in recipes if r)]
    ends = frozenset().union(*(fitting_kinds(chain, begin, "the model")[0] for chain in chains))
    others = sorted(ends - KINDS)
    if others:
        raise UsageError(
            f"--mlflow: the pick may be of kind {' or '.join(others)}, which has no MLflow form: "
            "MLflow's flavor transformers holds Hugging Face models",
            hint="Leave the passes out that make it, or search without --mlflow and take a "
            "Hugging Face candidate afterwards: paretune pick STUDY --out DIR --mlflow.",
        )
    check_form(Model(ModelKind.HF, plan.base or plan.model, ""))
