"""The file of derivatives, and the divergence that is expected by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.errors import PassError
from paretune.passes.quantization.sensitivity_file import FILE, Sensitivity

FOUND = Sensitivity(
    32,
    True,
    "gptq",
    10,
    {4: {"a": (2.0, -4.0), "b": (1.0, 4.0)}, 8: {"a": (0.2, 0.0), "b": (0.0, 0.1)}},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    FOUND.write(tmp_path)
    assert Sensitivity.read(tmp_path) == FOUND


def test_a_divergence_is_half_of_the_mean_square_per_token() -> None:
    assert FOUND.divergence(["a"], 4) == pytest.approx((4 + 16) / 2 / 10)
    assert FOUND.divergence(["a"], 8) == pytest.approx(0.04 / 2 / 10)


def test_errors_that_are_made_together_may_cancel() -> None:
    assert FOUND.divergence(["a", "b"], 4) == pytest.approx((3**2 + 0) / 2 / 10)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"derivatives": {"4": {}}}'])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(PassError, match=r"budget needs sensitivity\.json") as caught:
        Sensitivity.read(tmp_path)
    assert "directly before genai" in (caught.value.hint or "")
