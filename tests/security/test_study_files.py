"""Files of a study that somebody else wrote: what is damaged is told, nothing is a bug of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.errors import StateError
from paretune.reporting.picking import resolved_config
from paretune.study.folder import read_outcomes


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", '{"id": []}', "[" * 100_000])
@pytest.mark.parametrize("name", ["outcome.json", "measurements.json"])
def test_a_candidates_file_of_another_shape(tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / "candidates" / "0001"
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text("{}")
    (folder / name).write_text(text)
    with pytest.raises(StateError, match="cannot be read"):
        read_outcomes(tmp_path)


@pytest.mark.parametrize("text", ["[", "a: [" * 1000, "- 1", "\x1b]0;x\x07", "!!python/name:os.x"])
def test_a_configuration_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(StateError):
        resolved_config(tmp_path)
