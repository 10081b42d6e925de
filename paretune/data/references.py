"""References to parts of data sets, such as ``tone.train``."""

from __future__ import annotations

from paretune.data.spec import DataSpec


def place_in(spec: DataSpec, part: str) -> str:
    """Return which of a data set's files holds a part; empty where there is one only.

    Args:
        spec: The data set.
        part: Such as ``train``; empty for the whole.
    """
    if spec.files is not None:
        return part
    return part or "train" if spec.hub is not None else ""


def references_of(name: str, spec: DataSpec) -> dict[str, tuple[str, str]]:
    """Return a data set's references, each with the name and the part that it means."""
    whole = {} if spec.files is not None else {name: (name, "")}
    return whole | {f"{name}.{part}": (name, part) for part in spec.splits}
