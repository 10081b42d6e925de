"""A base with an adapter on it, in PyTorch: every matrix of the adapter's file is in it.

PEFT leaves out what it finds no module for (names with another prefix, modules that
``adapter_config.json`` does not name), and keeps untrained matrices where the file has none. Either
is another model than the trained one, so both are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import InvalidArtifactError
from paretune.models.containment import ADAPTER

_HINT = (
    "Save the adapter again with PEFT's save_pretrained, and use the base that it was trained on."
)


def load_adapted(network: Any, adapter: Path) -> Any:
    """Return a network with an adapter on it.

    Args:
        network: The loaded base; it is changed.
        adapter: The adapter's folder; its weights are safetensors.

    Raises:
        InvalidArtifactError: A matrix has no place in the base, a shape is another one, or a
            module that the adapter's settings name has no matrices.
    """
    import warnings

    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    file = adapter / ADAPTER
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below
            adapted = PeftModel.from_pretrained(network, adapter, local_files_only=True)
        told = set_peft_model_state_dict(adapted, load_file(file))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InvalidArtifactError(
            f"{file} does not load on its base: {' '.join(lines[:2])[:300]}", hint=_HINT
        ) from error
    stray = sorted(told.unexpected_keys)
    if stray:
        raise InvalidArtifactError(
            f"{file}: {len(stray)} tensors have no place in the base, or belong to modules that "
            f"adapter_config.json does not name; the first is {stray[0]}",
            hint=_HINT,
        )
    absent = sorted(key for key in told.missing_keys if ".lora_" in key)
    if absent:
        raise InvalidArtifactError(
            f"{file} lacks {len(absent)} matrices of modules that adapter_config.json names; the "
            f"first is {absent[0]}",
            hint=_HINT,
        )
    return adapted
