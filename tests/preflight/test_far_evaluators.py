"""What an evaluator or a user's function needs is looked for where it will run."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from paretune.config.plan import EvaluatorChoice
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.packages import missing
from paretune.preflight.far_evaluators import check_far_evaluators

REGRESSION = EvaluatorChoice("regression", {"data": "rows"})


class Board:
    """Answers what it is asked as a worker there does, but lacks some packages."""

    def __init__(self, lacks: set[str], status: JobStatus = JobStatus.OK) -> None:
        self.lacks, self.status = lacks, status
        self.asked: list[Any] = []

    def info(self) -> TargetInfo:
        return TargetInfo("board")

    def submit(self, job: Job) -> Future[JobResult]:
        self.asked.append(job.task)
        names = job.task.args["names"]  # type: ignore[union-attr]
        found: Future[JobResult] = Future()
        value = sorted({*missing(names)} | self.lacks.intersection(names))
        found.set_result(JobResult(self.status, value=value, reason="killed"))
        return found


def check(board: Any, *choices: EvaluatorChoice, root: Path = Path()) -> None:
    check_far_evaluators(choices, root, board)


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    with pytest.raises(UsageError) as caught:
        check(Board({"scikit-learn"}), REGRESSION)
    assert "regression needs scikit-learn, not installed where 'board' runs" in str(caught.value)
    assert "target add HOST --evaluator regression" in str(caught.value.hint)
    check(Board({"rapidfuzz"}), REGRESSION)


def test_nothing_is_asked_where_nothing_is_needed() -> None:
    board = Board(set())
    check(board, EvaluatorChoice("agreement", {"data": "rows"}))
    assert not board.asked


def test_what_a_function_imports_counts(tmp_path: Path) -> None:
    (tmp_path / "post.py").write_text("import beside\n\n\ndef answer(outputs):\n    return ''\n")
    (tmp_path / "beside.py").write_text("import json\nimport yaml\n")
    choice = EvaluatorChoice("recognition", {"data": "rows", "postprocess": "post.py:answer"})
    with pytest.raises(UsageError, match="recognition needs pyyaml, not installed where 'board'"):
        check(Board({"pyyaml"}), choice, root=tmp_path)


def test_a_board_that_does_not_answer_is_named() -> None:
    with pytest.raises(UsageError, match=r"'board' does not say which packages it has; .*killed"):
        check(Board(set(), JobStatus.CRASHED), REGRESSION)
