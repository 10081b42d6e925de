"""Targets that this user has made known: a file in the user's configuration folder.

It has the form of a configuration's ``targets:``. A known target is used only where ``target:`` of
a configuration, or ``--target`` of a command, names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock

from paretune.config.schema import DeclaredTarget
from paretune.config.targets import declared_in, open_for_command, open_target
from paretune.core.errors import StateError, UsageError, nearest
from paretune.core.jsontools import write_atomic
from paretune.core.user_paths import user_path
from paretune.registry import names

if TYPE_CHECKING:
    from paretune.core.target import Target

_HEAD = "# Written by `paretune target`; may be edited. `add` and `remove` discard comments.\n"
_ADD = "Make it known with: paretune target add HOST"


def known_targets_file() -> Path:
    """Return ``$XDG_CONFIG_HOME/paretune/targets.yaml``, by default in ``~/.config``.

    Raises:
        StateError: This user has no home folder.
    """
    named = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(named):  # the specification has relative ones ignored
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise StateError(
                "there is no folder for known targets: this user has no home folder",
                hint="Set XDG_CONFIG_HOME.",
            )
        named = os.path.join(home, ".config")
    return user_path(Path(named, "paretune", "targets.yaml"))


def known_targets() -> Mapping[str, DeclaredTarget]:
    """Return the targets that are known, by name.

    Raises:
        ConfigError: The file cannot be read, or one of them is wrong.
        StateError: This user has no home folder.
    """
    file = known_targets_file()
    return declared_in(file, alone=True) if file.exists() else {}


def with_known(
    declared: Mapping[str, DeclaredTarget], section: object
) -> Mapping[str, DeclaredTarget]:
    """Return the declared targets of a configuration, and the known ones that it names.

    Args:
        declared: Its ``targets:``; they win.
        section: Its ``target:``, or a list of such sections.

    Raises:
        ConfigError: A target is named that is not declared, and the file of the known ones is
            wrong.
    """
    uses = section if isinstance(section, (list, tuple)) else [section]
    named = [getattr(use, key, None) for use in uses for key in ("name", "build", "measure")]
    return _beside(declared, dict.fromkeys(named))


def open_named(name: str, config: Path | None, store_root: Path) -> Target:
    """Start the target that a command names.

    Args:
        name: ``local``, a target that another package brings, a declared or a known one.
        config: The configuration that declares targets; None: there is none.
        store_root: The artifact store of this machine.

    Raises:
        UsageError: There is no target of that name, or it cannot be reached.
    """
    declared = {} if config is None else declared_in(config)
    targets = _beside(declared, {name})
    if name in targets and name not in declared:
        return open_target(name, targets, store_root)
    return open_for_command(name, config, store_root)


def _beside(
    declared: Mapping[str, DeclaredTarget], named: Iterable[str | None]
) -> Mapping[str, DeclaredTarget]:
    """Return targets, and the known ones that are named and not among them."""
    wanted = [n for n in named if n is not None and n not in declared and n not in names("targets")]
    if not wanted:
        return declared
    try:
        known = known_targets()
    except StateError:  # without a home folder none is known
        return declared
    return {**declared, **{name: known[name] for name in wanted if name in known}}


def known_target(name: str) -> DeclaredTarget:
    """Return one known target.

    Raises:
        UsageError: None of that name is known.
    """
    known = known_targets()
    if name not in known:
        raise UsageError(
            f"no target named {name!r} is known", hint=nearest(name, known) if known else _ADD
        )
    return known[name]


def remember(name: str, target: DeclaredTarget) -> Path:
    """Make a target known, in place of one of the same name; returns the file.

    Raises:
        ConfigError: The file cannot be read, or is wrong.
    """
    with _changing() as known:
        known[name] = target
    return known_targets_file()


def forget(name: str) -> DeclaredTarget:
    """Remove a known target; returns what it was.

    Raises:
        UsageError: None of that name is known.
    """
    with _changing() as known:
        known_target(name)
        return known.pop(name)


@contextmanager
def _changing() -> Iterator[dict[str, DeclaredTarget]]:
    """Yield the known targets; what they are afterwards is written."""
    file = known_targets_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        known = dict(known_targets())
        yield known
        plain = {name: target.model_dump(exclude_none=True) for name, target in known.items()}
        text = yaml.safe_dump({"targets": plain}, sort_keys=False, allow_unicode=True)
        write_atomic(file, _HEAD + text)
