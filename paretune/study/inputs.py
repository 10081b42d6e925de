"""What a search reads from outside, checked around each use.

Everything is digested once, with a stamp of each file. A job is given the stamps; they are checked
before it begins, before a build is stored, and after it. If a file's content is no longer what was
digested, nothing of that job is kept and the search ends; if a file was only rewritten with
the same content while a job might have read it, the job is run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paretune.core.model import Model
from paretune.core.stamps import take
from paretune.models.inputs import Inputs

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.data.catalog import DataCatalog


def gather(
    plan: Plan, model: Model, catalog: DataCatalog, candidates: Iterable[Candidate]
) -> Inputs:
    """Return the inputs of a plan, and load its data sets, each after its files were digested.

    Args:
        plan: The configuration.
        model: The input model.
        catalog: Its data sets.
        candidates: Those beside the space.
    """
    from paretune.plugin_identity import code_of_evaluator, code_of_pass, files_named
    from paretune.registry import find_evaluator, find_pass
    from paretune.study.identity import data_of, steps_of

    found = Inputs(model)
    candidates = tuple(candidates)
    steps = tuple(steps_of(plan.space, candidates))
    for ref in data_of(plan, candidates, catalog):
        far = catalog.far(ref)
        if far is not None:
            found.add_far(f"data {ref}", far.inputs(ref))
            continue
        found.add(f"data {ref}", f"data {ref}", map(take, catalog.files(ref)))
        catalog.check(ref)
    for name in sorted({step.name for step in steps}):
        pass_ = find_pass(name)
        files = {file.path: file for file in code_of_pass(pass_).files}
        for step in steps:
            if step.name == name:
                for file in files_named(pass_.Params, step.params, plan.root):
                    files[file.path] = file
        found.add(f"pass {name}", f"pass {name}", files.values())
    for index, choice in enumerate(plan.evaluators):
        params = find_evaluator(choice.name).Params
        own = code_of_evaluator(choice.name, choice.params).files
        named = files_named(params, choice.params, plan.root)
        found.add(f"evaluator {index}", f"evaluator {choice.name}", (*own, *named))
    return found
