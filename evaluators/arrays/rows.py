"""What evaluators of data sets of arrays have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from paretune.core.errors import DataError
from paretune.core.params import Params, parameter
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.evaluators.examples import JudgingEvaluator

Verdict = TypeVar("Verdict")


class RowParams(Params):
    """What is measured on."""

    data: str = parameter(..., "Data set of arrays, such as `files.test`.", search="none")
    output: str | None = parameter(
        None, "Output of the network; by default its only one.", search="none"
    )
    rough_examples: int = parameter(
        48, "Examples at the rung `rough`.", unit="examples", search="none", ge=8
    )


class RowEvaluator(JudgingEvaluator[ArrayData, ArrayRow, Verdict]):
    """Judges the rows of a data set of arrays, one by one."""

    needs = ("runs",)
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)

    def read(self, context: Context) -> tuple[ArrayData, Sequence[ArrayRow]]:
        """Return the data set that the parameter `data` names."""
        data = context.data.arrays(self.params.data)
        return data, data.rows

    def check_rows(self, data: ArrayData) -> None:
        """Refuse a data set that cannot be measured on, before anything runs.

        Raises:
            DataError: It has no answers.
        """
        require_answers(self.name, data)


def require_answers(name: str, data: ArrayData) -> None:
    """Refuse a data set without answers.

    Args:
        name: Of the evaluator.
        data: Its data set.

    Raises:
        DataError: It has none.
    """
    if data.rows[0].target is None:
        raise DataError(
            f"{data.ref} has no answers, which {name} compares with",
            hint="Name the column that has them: `target: COLUMN`.",
        )


def wrong_target(name: str, data: ArrayData, row: ArrayRow, expected: str) -> DataError:
    """Return the error for an answer that an evaluator cannot use.

    Args:
        name: Of the evaluator.
        data: Its data set.
        row: The row with the answer.
        expected: What it should be.
    """
    shown = repr(row.target)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(
        f"{data.ref}: row {row.row + 1} has the answer {shown}; {name} expects {expected}",
        hint="Correct the column that `target` names.",
    )
