"""The contract of a kind of model, and which kind a folder is of.

A kind has a name, a string: nothing holds a list of them all. Ours and those of other packages are
found by `paretune.core.plugins`. A folder is of the first kind that says so; other packages' kinds
are asked first, because a folder of theirs may hold a ``config.json`` too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from paretune.core.model import Decoder, Model, ModelInfo
from paretune.core.permissions import Permissions
from paretune.core.plugins import BUILTIN, instance, table
from paretune.models.checks.finding import Finding


@dataclass(frozen=True)
class ArrayNames:
    """Names of what a model takes and gives that runs on arrays.

    Attributes:
        inputs: That data give; None: they are not known.
        outputs: That evaluators can name.
        constant: Inputs that have a value already; data may name them, and need not.
    """

    inputs: tuple[str, ...] | None
    outputs: tuple[str, ...]
    constant: tuple[str, ...] = ()


class Kind(ABC):
    """What there is to know of models of one kind; a subclass declares what differs.

    Attributes:
        name: As passes and runtimes call it.
        folder: What such a model is on disk, for messages.
        shown: The same in short; empty: "of kind NAME".
        needs_base: True if a model of it is of use with the model that it was made from only.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    shown: ClassVar[str] = ""
    needs_base: ClassVar[bool] = False

    @abstractmethod
    def matches(self, folder: Path) -> bool:
        """Return whether a folder holds such a model, by the names of its files."""

    def counts(self, folder: Path) -> Callable[[Path, bool], bool]:
        """Return a test of the entries at the top of a folder: is it part of the model?

        The test is given a path, and whether it is a folder. What people leave in every folder
        (documents, hidden files) does not come to it.
        """
        del folder
        return lambda path, is_folder: True

    def check(self, folder: Path, files: Sequence[Path]) -> set[Path]:
        """Return the files that the model's own files name; all of them lie in its folder.

        Args:
            folder: The model's.
            files: Those that count.

        Raises:
            UsageError: One lies elsewhere (see `paretune.models.containment.inside`), or the model
                has no weights that can be read.
        """
        del folder, files
        return set()

    def base(self, folder: Path, root: Path, permissions: Permissions) -> Path | None:
        """Return the folder of the model that a model of this kind needs beside it; None: none.

        Args:
            folder: The model's.
            root: The configuration's folder.
            permissions: Whether the base may be fetched.

        Raises:
            UsageError: There is no such model.
        """
        del folder, root, permissions
        return None

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return what is wrong with a model that the user gives, by its files.

        Args:
            folder: The model's.
            base: Its base's.

        Raises:
            UsageError: One of the files cannot be read as what it should be.
        """
        del folder, base
        return ()

    def inspect(self, folder: Path, size: int, base: Path | None = None) -> ModelInfo:
        """Return the facts of a model, by its configuration and headers; loads no weights.

        Args:
            folder: The model's.
            size: Of its files, in bytes.
            base: Its base's.

        Raises:
            UsageError: One of the files is damaged.
        """
        del folder, base
        return ModelInfo(kind=self.name, bytes=size)

    def array_names(self, folder: Path) -> ArrayNames | None:
        """Return what a model that runs on arrays takes and gives, by its files; None: unknown.

        Args:
            folder: The model's.

        Raises:
            UsageError: A file that says so is damaged.
        """
        del folder
        return None

    def structure(self, model: Model) -> str | None:
        """Return a digest of everything that a model's speed and memory depend on; None: unknown.

        Models of equal digests share these metrics under equal settings of the runtime. So it
        covers all but the values of weights (see `paretune.models.structure`).

        Raises:
            UsageError: One of the files is damaged.
        """
        del model
        return None

    def decoder(self, model: Model) -> Decoder | None:
        """Return what is known of the tokens of a language model; None: it is none.

        Raises:
            UsageError: A file that says so cannot be read.
        """
        del model
        return None


def kind_named(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        UsageError: There is none of that name; says the nearest.
    """
    kind: Kind = instance("kinds", name)
    return kind


def all_kinds() -> Iterator[Kind]:
    """Yield every kind, in the order in which a folder is checked against them."""
    ours = BUILTIN["kinds"]
    for name in (*sorted(table("kinds").keys() - ours), *ours):
        yield kind_named(name)


def kind_of(folder: Path) -> Kind | None:
    """Return the kind that a folder is of; None: of none."""
    return next((kind for kind in all_kinds() if kind.matches(folder)), None)
