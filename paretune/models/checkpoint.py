"""Loads a Hugging Face checkpoint with every weight that it needs; for workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import CandidateError
from paretune.models.remote_code import explained

_SHOWN = 3


def load_whole(
    folder: Path,
    trusted: bool,
    kind: type[CandidateError],
    auto: str = "AutoModelForCausalLM",
    **how: Any,
) -> Any:
    """Return the network of a folder.

    Weights are read from safetensors only, and nothing is fetched. What the files leave out,
    transformers would draw at random with a warning: two loads would be two models.

    Args:
        folder: A Hugging Face folder, checked already.
        trusted: Whether its own code may run.
        kind: The error to raise.
        auto: The class of transformers that loads it.
        **how: More for ``from_pretrained``: ``dtype``, ``quantization_config``, ``device_map``.

    Raises:
        CandidateError: Of `kind`: weights are missing, or its code is off and needed.
    """
    import transformers

    with explained(folder, trusted, kind):
        network, told = getattr(transformers, auto).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trusted,
            output_loading_info=True,
            **how,
        )
    missing = sorted(told["missing_keys"])
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise kind(
            f"the weights in {folder} lack {shown}{more}, which its config.json asks for",
            hint="Get the checkpoint again, or correct config.json: missing ones would be random.",
        )
    return network
