"""A translation as text: paretune's YAML with its header, and the list of keys by status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from paretune.config.olive.entries import Entry, Status
from paretune.config.olive.listing import grouped_text
from paretune.config.olive.translating import Translation
from paretune.core.jsontools import Json
from paretune.core.os_errors import printable

_ORDER = (
    Status.UNSUPPORTED,
    Status.APPROXIMATED,
    Status.ADDED,
    Status.NO_EFFECT,
    Status.TRANSLATED,
)


class _Dumper(yaml.SafeDumper):
    """Writes each value out where it stands, and texts of several lines in one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = '"' if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def config_text(config: dict[str, Json]) -> str:
    """Return paretune's configuration as YAML."""
    dumped: str = yaml.dump(
        config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    return dumped


def file_text(translation: Translation, name: str, command: str) -> str:
    """Return the YAML file: a header that says where it comes from, and the configuration.

    Args:
        translation: What is written.
        name: The JSON's name.
        command: What runs it, beside it.
    """
    lines = [
        f"Translated from Olive's {name} by `paretune import-olive`.",
        "Olive's defaults are written out where they differ from paretune's.",
        f"Run it: {command}",
    ]
    approximated = translation.of(Status.APPROXIMATED)
    if approximated:
        lines += ["", "Differences from Olive:"]
        lines += [f"- {entry.key}: {entry.why}" for entry in approximated]
    header = "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)
    return f"{header}\n{config_text(translation.config)}"


def entries_text(entries: Iterable[Entry]) -> str:
    """Return the list of keys, grouped by status; the most important status comes first."""
    return grouped_text(entries, _ORDER, lambda entry: entry.status, _lines)


def _lines(entry: Entry) -> list[str]:
    into = "" if entry.into is None else f" -> {entry.into}"
    return [f"  {entry.key}{into}", *([] if entry.why is None else [f"      {entry.why}"])]
