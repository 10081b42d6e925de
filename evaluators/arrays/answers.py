"""The user's post-processing: from the outputs for one row to an answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import EvaluatorError
from paretune.core.file_functions import function_of, require_trust
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.data.arrays import ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.network import finite, network_of
from paretune.evaluators.arrays.rows import RowEvaluator

Verdict = TypeVar("Verdict")


class AnswerParams(Params):
    """What is measured on, and what makes answers of outputs."""

    data: str = parameter(..., "Data set of arrays, such as `lines.test`.", search="none")
    postprocess: str = parameter(
        ...,
        "`file.py:function`: takes the outputs for one example, arrays by name, and returns the "
        "answer.",
        search="none",
        pattern=r"^.+\.py:[A-Za-z_]\w*$",
    )
    rough_examples: int = parameter(
        48, "Examples at the rung `rough`.", unit="examples", search="none", ge=8
    )


class AnswerEvaluator(RowEvaluator[Verdict]):
    """Judges the answers that a function of the user's makes; only with --trust-remote-code."""

    Params = AnswerParams
    params: AnswerParams
    runs_user_code: ClassVar[bool] = True

    def answers(
        self, model: Model, runtime: RuntimeSettings, context: Context
    ) -> Callable[[ArrayRow], Any]:
        """Load the model, and return what makes the answer for a row.

        Args:
            model: The packaged model.
            runtime: What to run it with.
            context: Data, flags.

        Raises:
            UsageError: The function may not run, or is not there.
        """
        place, ref = self.params.postprocess, self.params.data
        require_trust(place, self.name, context.trust_remote_code)
        function = function_of(place, Path(context.data.root), f"{self.name}: postprocess")
        network = network_of(model, runtime, ref, context)

        def answer(row: ArrayRow) -> Any:
            found = network.outputs(row)
            for name, value in found.items():
                finite(value, name, row, ref)
            try:
                return function(found)
            except Exception as error:  # the user's function may raise anything
                raise EvaluatorError(
                    f"{self.name}: postprocess failed on row {row.row + 1} of {ref}: "
                    f"{type(error).__name__}: {error}",
                    hint=f"postprocess is {place}.",
                ) from error

        return answer

    def not_an_answer(self, row: ArrayRow, found: Any, expected: str) -> EvaluatorError:
        """Return the error for an answer of another form.

        Args:
            row: The row.
            found: What the function returned.
            expected: What it should return.
        """
        return EvaluatorError(
            f"{self.name}: postprocess returned {found!r:.80} for row {row.row + 1} of "
            f"{self.params.data}, expected {expected}",
            hint=f"postprocess is {self.params.postprocess}.",
        )
