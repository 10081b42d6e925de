"""A checkpoint that leaves weights out is refused, not completed with random ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError, PassError
from paretune.models.checkpoint import load_whole
from paretune.models.handle import open_model
from paretune.runtimes.serving import open_session
from tests.tiny_models import make_tiny_llama

LEFT_OUT = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("tied", [True, False])
def test_a_whole_checkpoint_loads(tmp_path: Path, tied: bool) -> None:
    folder = make_tiny_llama(tmp_path / "model", tied=tied)
    assert load_whole(folder, False, PassError).config.num_hidden_layers == 2


@pytest.mark.parametrize("name", [LEFT_OUT, "model.norm.weight", "lm_head.weight"])
def test_one_that_lacks_a_weight_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make_tiny_llama(tmp_path / "model", tied=False)
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PassError, match=f"lack {name}"):
        load_whole(folder, False, PassError)
    with pytest.raises(InvalidArtifactError, match=f"lack {name}"):
        open_session(open_model(folder), RuntimeSettings("cpu", 1))
