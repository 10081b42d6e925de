"""Whether an adapter's settings and its matrices belong together, by the file's header alone.

PEFT loads what it finds by name and leaves out the rest without an error: a wrong prefix, or a
module that the settings do not name, gives the base back as if it were the tuned model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.core.jsontools import Json
from paretune.models.checks.finding import Finding
from paretune.models.containment import ADAPTER

PREFIX = "base_model.model."
_PAIR = re.compile(r"\.lora_(embedding_)?([AB])(?=\.|$)")
_SAVE_AGAIN = "Save the adapter again with PEFT's save_pretrained."


def check_settings(file: Path, settings: Mapping[str, Json]) -> Iterator[Finding]:
    """Yield which numbers of an adapter's settings are none that PEFT can compute with.

    Args:
        file: ``adapter_config.json``, for messages.
        settings: Its content.
    """
    alpha, rank = settings.get("lora_alpha", 8), settings.get("r", 8)
    if type(rank) is not int or rank < 1:
        yield Finding(f"{file}: r is {rank!r}, expected a whole number from 1", _SAVE_AGAIN)
    if type(alpha) not in (int, float):
        yield Finding(f"{file}: lora_alpha is {alpha!r}, expected a number", _SAVE_AGAIN)
    elif alpha == 0:
        yield Finding(
            f"{file}: lora_alpha is 0, so the adapter changes nothing",
            "Is it the alpha that it was trained with?",
            fatal=False,
        )
    for key, least in (("rank_pattern", 1), ("alpha_pattern", None)):
        for name, value in dict(settings.get(key) or {}).items():
            whole = type(value) is int and value >= 1
            if not (whole if least else type(value) in (int, float)):
                yield Finding(
                    f"{file}: {key}: {name!r} is {value!r}, expected a number", _SAVE_AGAIN
                )


def check_matrices(
    adapter: Path, settings: Mapping[str, Json], tensors: Mapping[str, tuple[int, ...]]
) -> Iterator[Finding]:
    """Yield what PEFT would leave out, or could not load.

    Args:
        adapter: The adapter's folder.
        settings: Its ``adapter_config.json``.
        tensors: The shape of each tensor of its weights, by name.
    """
    file = adapter / ADAPTER
    stray = next((name for name in tensors if not name.startswith(PREFIX)), None)
    if stray is not None:
        yield Finding(
            f"{file}: {stray[:120]} does not begin with {PREFIX!r}, so PEFT finds no module for it "
            "and would leave it out",
            f"{_SAVE_AGAIN} (Or rename the tensors.)",
        )
        return
    pairs: dict[str, dict[str, str]] = {}
    for name in tensors:
        found = _PAIR.search(name)
        if found is not None:
            module = name[len(PREFIX) : found.start()]
            pairs.setdefault(module, {})[found[2]] = name
    if not pairs:
        yield Finding(
            f"{file} holds no LoRA matrices (lora_A, lora_B): it would change nothing", _SAVE_AGAIN
        )
        return
    for module, sides in pairs.items():
        if len(sides) < 2:
            (name,) = sides.values()
            other = "B" if "A" in sides else "A"
            yield Finding(
                f"{file}: {name[:120]} is there, and its lora_{other} is not", _SAVE_AGAIN
            )
            return
        if not _is_named(module, settings):
            yield Finding(
                f"{file}: {sides['A'][:120]} belongs to a module {module!r} that "
                "adapter_config.json leaves out (target_modules, exclude_modules): PEFT would "
                "leave it out, too",
                "Put the adapter's own adapter_config.json beside its weights.",
            )
            return
        problem = _other_rank(tensors, sides, settings)
        if problem is not None:
            yield Finding(f"{file}: {problem}", "Put the adapter's own adapter_config.json there.")
            return


def _other_rank(
    tensors: Mapping[str, tuple[int, ...]], sides: Mapping[str, str], settings: Mapping[str, Json]
) -> str | None:
    """Return which matrix has another rank than its partner, or than the settings say."""
    a, b = tensors[sides["A"]], tensors[sides["B"]]
    if len(a) != 2 or len(b) != 2:
        return None
    if a[0] != b[1]:
        return f"{sides['A'][:120]} has rank {a[0]}, and its lora_B {b[1]}"
    rank = settings.get("r", 8)
    if a[0] != rank and not settings.get("rank_pattern"):
        return f"{sides['A'][:120]} has rank {a[0]}, and adapter_config.json says r = {rank}"
    return None


def _is_named(module: str, settings: Mapping[str, Json]) -> bool:
    """Return whether PEFT puts an adapter on a module, by the settings' names.

    What cannot be decided without the network (all-linear, a list of layers) counts as named.
    """
    if settings.get("target_parameters"):
        return True
    without, wanted = settings.get("exclude_modules"), settings.get("target_modules")
    if without and _matches(module, without):
        return False
    return not wanted or wanted == "all-linear" or _matches(module, wanted)


def _matches(module: str, names: Json) -> bool:
    if isinstance(names, str):
        try:
            return re.fullmatch(names, module) is not None
        except re.error:  # PEFT's to refuse
            return True
    return any(module == name or module.endswith(f".{name}") for name in names)
