"""What the passes share when they load Hugging Face folders; for workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import PassError
from paretune.data.context import Context
from paretune.models.checkpoint import load_whole
from paretune.models.containment import check_model
from paretune.models.remote_code import explained


def use_all_cores() -> None:
    """Let PyTorch compute with every physical core that this process may use.

    Threads are a runtime setting of the model; a pass uses all cores.
    """
    import torch

    from paretune.core.resources import physical_cores

    torch.set_num_threads(physical_cores())


def load_tokenizer(folder: Path, context: Context) -> Any:
    """Return the tokenizer of a model folder; nothing is fetched.

    Raises:
        PassError: It needs code that the folder brings, and that is off.
    """
    from transformers import AutoTokenizer

    with explained(folder, context.trust_remote_code, PassError):
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=context.trust_remote_code
        )


def load_fp32(folder: Path, context: Context) -> Any:
    """Return the causal language model of a folder with its weights in fp32.

    Whatever the checkpoint holds, adapters are merged, and unless asked otherwise trained, at full
    precision.

    Raises:
        PassError: It needs code that the folder brings, and that is off.
        UsageError: It names files outside of its folder, or has pickled weights only.
    """
    import torch

    return load_causal_lm(folder, context, dtype=torch.float32)


def load_causal_lm(folder: Path, context: Context, **how: Any) -> Any:
    """Return the causal language model of a folder.

    Weights are read from safetensors only, and nothing is fetched.

    Args:
        folder: The model's.
        context: Whether its own code may run.
        **how: More for ``from_pretrained``: ``dtype``, ``quantization_config``, ``device_map``.

    Raises:
        PassError: It lacks weights, or needs code that the folder brings, and that is off.
        UsageError: It names files outside of its folder, or has pickled weights only.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # a log is no terminal
    check_model(folder)
    network = load_whole(folder, context.trust_remote_code, PassError, **how)
    note_tying(network)
    return network


def note_tying(network: Any) -> None:
    """Have a network's configuration say whether its embedding and head share their weights.

    A configuration may say that they do where the file holds two matrices: the network then has
    two, and code that saves or changes it would make one of them.
    """
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    one, other = getattr(embedding, "weight", None), getattr(head, "weight", None)
    if one is None or other is None or one is other or one.data_ptr() == other.data_ptr():
        return
    if one.device.type == "meta":
        return
    for config in {id(c): c for c in (network.config, network.config.get_text_config())}.values():
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
            network.all_tied_weights_keys = {}
