"""An adapter as the input model: the base that it names, and whether the two fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import ModelInfo, ModelKind
from paretune.core.permissions import Permissions
from paretune.models.adapter_weights import check_matrices, check_settings
from paretune.models.checks.finding import Finding
from paretune.models.containment import ADAPTER
from paretune.models.handle import detect_kind, inspect
from paretune.models.hub import fetch_model, is_hub_name
from paretune.models.safetensors_files import safetensors_header, weights_files
from paretune.models.tied import EMBEDDINGS, HEADS

_KEY = "base_model_name_or_path"
_OF_A_MODEL = ("config.json", "adapter_config.json", "genai_config.json")
_TASKS = (None, "CAUSAL_LM")
_WRITE_BASE = (
    f"Write the folder of the model that it was trained on there, as {_KEY}: an absolute path, or "
    "one from the adapter's folder on."
)


def base_of(adapter: Path, root: Path, permissions: Permissions = Permissions()) -> Path:
    """Return the folder of the model that an adapter was trained on.

    Args:
        adapter: The adapter's folder.
        root: The configuration's folder; a relative path may start there, in the adapter's folder
            or in the working folder.
        permissions: Whether it may be fetched from the hub, and with its Python files.

    Raises:
        UsageError: It names none, there is no such model, it is not a full model, or the adapter is
            of a kind that cannot be used.
    """
    file = adapter / "adapter_config.json"
    settings = read_model_json(file)
    _require_lora(file, settings)
    name = settings.get(_KEY)
    if not isinstance(name, str) or not name.strip():
        raise UsageError(
            f"{file}: {_KEY} is {name!r}: an adapter is of use with the model that it was trained "
            "on only",
            hint=_WRITE_BASE,
        )
    if (adapter / "config.json").is_file() and weights_files(adapter, but=(ADAPTER,)):
        raise UsageError(
            f"model {str(adapter)!r}: an adapter ({ADAPTER}) and a full model's weights lie in one "
            "folder, and it is not clear which one is meant",
            hint="Move adapter_config.json and the adapter's weights into a folder of their own "
            f"to use it, with {_KEY} naming this one; or remove them to use the full model.",
        )
    base = _find(name, adapter, root, permissions, file)
    kind = detect_kind(base)
    if kind != ModelKind.HF:
        raise UsageError(
            f"{file}: {_KEY} names {name!r}, which is a model of kind {kind}, expected hf (a "
            "full Hugging Face model)",
            hint="Merge that adapter into its own base first, and name the result."
            if kind == ModelKind.HF_ADAPTER
            else _WRITE_BASE,
        )
    return base


def _require_lora(file: Path, settings: Mapping[str, Json]) -> None:
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise UsageError(
            f"{file}: peft_type is {kind!r}, expected 'LORA': no other adapter can be merged or "
            "built",
            hint="Train a LoRA adapter, or give the full model.",
        )
    if settings.get("task_type") not in _TASKS:
        raise UsageError(
            f"{file}: task_type is {settings.get('task_type')!r}, expected 'CAUSAL_LM'",
            hint="paretune builds language models; this adapter is for another task.",
        )


def _find(name: str, adapter: Path, root: Path, permissions: Permissions, file: Path) -> Path:
    places = [adapter / name, root / name, Path(name)]
    for place in places:
        try:
            there = any((place / name).is_file() for name in _OF_A_MODEL)
            if there and place.resolve() != adapter.resolve():
                return place
        except (OSError, ValueError):  # a name that no file can have
            continue
    if is_hub_name(name):
        try:
            return fetch_model(name, permissions)
        except UsageError as error:
            raise UsageError(
                f"{file}: {_KEY}: {error.message}",
                hint=f"Allow it to be fetched with --allow-network, or: {_WRITE_BASE}",
            ) from error
    looked = " and ".join(dict.fromkeys(str(place) for place in places))
    raise UsageError(
        f"{file}: {_KEY} names {name!r}, and there is no such model folder (looked for {looked})",
        hint=_WRITE_BASE,
    )


def check_adapter(adapter: Path, base: Path) -> Iterator[Finding]:
    """Yield what of an adapter is of no use with its base, and what of it is not used.

    Args:
        adapter: The adapter's folder.
        base: Its base's.
    """
    settings = read_model_json(adapter / "adapter_config.json")
    own = {n: tuple(e["shape"]) for n, e in safetensors_header(adapter / ADAPTER).items()}
    found = [
        *check_settings(adapter / "adapter_config.json", settings),
        *check_matrices(adapter, settings, own),
        *_told_of_base(adapter, base, settings),
    ]
    yield from found
    if any(finding.fatal for finding in found):
        return
    shapes = {
        name.removesuffix(".weight"): tuple(entry["shape"])
        for file in weights_files(base)
        for name, entry in safetensors_header(file).items()
    }
    if inspect(base).tied:  # the head is there once loaded, with the embedding's weights
        embedding = next((n for n in shapes if n.split(".")[-1] in EMBEDDINGS), None)
        if embedding is not None:
            shapes = {**dict.fromkeys(HEADS, shapes[embedding]), **shapes}
    by_end: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        by_end.setdefault(_end(name), []).append(shape)
    for name, entry in safetensors_header(adapter / ADAPTER).items():
        module, _, matrix = _parts(name)
        if matrix not in ("lora_A", "lora_B"):
            continue
        there = [shapes[module]] if module in shapes else by_end.get(_end(module), [])
        side = entry["shape"][-1 if matrix == "lora_A" else 0]
        if not there:
            yield Finding(
                f"{adapter / ADAPTER}: {name[:120]} is for a module {module!r}, and the base "
                f"{base} has no such weight",
                "Is it the model that the adapter was trained on?",
            )
            return
        if not any(side in shape for shape in there):
            yield Finding(
                f"{adapter / ADAPTER}: {name[:120]} has shape {entry['shape']}, and the base's "
                f"{module!r} in {base} has {list(there[0])}",
                "Is it the model that the adapter was trained on?",
            )
            return


def _told_of_base(adapter: Path, base: Path, settings: Mapping[str, Json]) -> Iterator[Finding]:
    """Yield what of the adapter's own folder and settings is not used, a note each."""
    for name in ("tokenizer.json", "chat_template.jinja"):
        theirs, own = adapter / name, base / name
        if not theirs.is_file():
            continue
        if not own.is_file() or theirs.read_bytes() != own.read_bytes():
            how = f"differs from the base's {own}" if own.is_file() else "is not in the base"
            yield Finding(
                f"{theirs} {how}, and the base's is used",
                "Copy the tokenizer's files into the base's folder if the adapter needs its own.",
                fatal=False,
            )
    revision = settings.get("revision")
    named = str(settings.get(_KEY))
    if revision not in (None, "", "main") and is_hub_name(named) and not Path(named).exists():
        yield Finding(
            f"{adapter / 'adapter_config.json'}: the adapter was trained on revision {revision!r} "
            f"of {named}, and the latest one is used",
            f"Fetch that revision into a folder, and write its path as {_KEY}.",
            fatal=False,
        )


def _parts(name: str) -> tuple[str, str, str]:
    """Return the module, the name before it, and which matrix of the adapter it is."""
    path = name.removeprefix("base_model.model.")
    for matrix in ("lora_A", "lora_B"):
        module, found, _ = path.partition(f".{matrix}.")
        if found:
            return module, name, matrix
    return path, name, ""


def _end(module: str) -> str:
    """Return what two names of a module have in common, whatever their models call the rest."""
    parts = module.split(".")
    place = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[place:] if place is not None else parts[-1:])


def inspect_adapter(adapter: Path, base: Path) -> ModelInfo:
    """Return an adapter's facts: its base's, and what it was made with.

    Raises:
        UsageError: One of the files is damaged.
    """
    settings: dict[str, Any] = read_model_json(adapter / "adapter_config.json")
    rank = settings.get("r")
    made = {"r": rank if type(rank) is int else 0, "use_dora": bool(settings.get("use_dora"))}
    return replace(inspect(base), kind=ModelKind.HF_ADAPTER, built_with=made)
