"""Data sets: read, checked, split so that no text is on both sides, and turned into examples."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from paretune.azure.addresses import is_azure
from paretune.core.errors import DataError, InputChangedError, nearest
from paretune.core.jsontools import Json, digest
from paretune.data.corpus import CorpusSpec
from paretune.data.elsewhere import Elsewhere, FarPart, with_paths
from paretune.data.files import Row, iter_rows, read_hub
from paretune.data.rows import Example, ReadData, read_examples
from paretune.data.spec import DataSpec, Split
from paretune.data.templates import columns_of

__all__ = [
    "DataCatalog",
    "DataSpec",
    "Dataset",
    "Example",
    "Split",
    "columns_of",
    "references_of",
    "same_text",
]


@dataclass(frozen=True)
class Dataset:
    """One referenced part of a data set.

    Attributes:
        ref: Such as ``tone.train``.
        examples: In file order.
        chat: Whether prompts go through the model's chat template.
        digest: Of exactly these examples, and of how they are used.
        corpus: How plain text becomes training sequences; None: each example is one.
    """

    ref: str
    examples: tuple[Example, ...]
    chat: bool
    digest: str
    corpus: CorpusSpec | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Distinct answers of this part, sorted; `DataCatalog.labels` has those of all parts."""
        return tuple(sorted({example.answer for example in self.examples}))

    @property
    def form(self) -> str:
        """``text``, ``pairs`` (of prompt and answer) or ``conversations``."""
        if self.examples[0].turns:
            return "conversations"
        return "pairs" if any(example.prompt for example in self.examples) else "text"


class DataCatalog:
    """A configuration's data sets, loaded when they are asked for.

    Args:
        specs: By name.
        root: Folder that relative paths start from.
        allow_network: Whether hub data sets may be fetched.
        elsewhere: Those that only another machine reads.
        copied: Returns the copy here of a file in Azure; None: none is made.
    """

    def __init__(
        self,
        specs: Mapping[str, DataSpec],
        root: Path,
        allow_network: bool = False,
        elsewhere: Elsewhere | None = None,
        copied: Callable[[str], Path] | None = None,
    ) -> None:
        self._specs = dict(specs)
        self._root = root
        self._allow_network = allow_network
        self._elsewhere = elsewhere or Elsewhere()
        self._copied = copied
        self._loaded: dict[str, Dataset] = {}
        self._read: dict[tuple[str, str], ReadData] = {}
        self._expected: dict[str, str] = {}

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference that can be loaded."""
        return tuple(sorted(self._places))

    @property
    def _places(self) -> dict[str, tuple[str, str]]:
        """Of each reference its data set's name and the part; names may hold dots themselves."""
        return {
            ref: place
            for name, spec in self._specs.items()
            for ref, place in references_of(name, spec).items()
        }

    def name_of(self, ref: str) -> str:
        """Return the name of the data set that a reference belongs to; the reference if to none."""
        return self._places.get(ref, (ref, ""))[0]

    def spec_of(self, ref: str) -> DataSpec:
        """Return how the data set of a reference that there is was specified."""
        return self._specs[self._places[ref][0]]

    def row(self, ref: str, number: int) -> Row:
        """Return one row of the file behind a reference, as it was read.

        Args:
            ref: A reference that was loaded.
            number: 0-based row.
        """
        name, part = self._places[ref]
        spec = self._specs[name]
        return next(islice(self._rows(spec, _place_in(spec, part))[0], number, None))

    def kept_aside(self, ref: str) -> str | None:
        """Return the reference of the held-out part of a data set; None if nothing is held out.

        Args:
            ref: Any reference of the data set: the whole, or a part.
        """
        name, _ = self._places.get(ref, (ref, ""))
        spec = self._specs.get(name)
        if spec is None or spec.split is None or spec.split.confirm is None:
            return None
        return f"{name}.confirm"

    def far(self, ref: str) -> FarPart | None:
        """Return what is known of a data set that only another machine reads; else None."""
        return self._elsewhere.parts.get(ref)

    def count(self, ref: str) -> tuple[int, int]:
        """Return the number of examples of a reference, and of the characters in their texts."""
        far = self.far(ref)
        if far is not None:
            return far.rows, far.characters
        examples = self.load(ref).examples
        return len(examples), sum(len(e.prompt) + len(e.answer) for e in examples)

    def load(self, ref: str) -> Dataset:
        """Return a data set, or one split of it.

        Raises:
            DataError: No such reference, or the file is missing, broken, empty or unlabelled.
            InputChangedError: It is not what the process that began the search read.
        """
        if ref not in self._loaded:
            found = self._load(ref)
            if self._expected.get(ref, found.digest) != found.digest:
                raise InputChangedError(
                    f"data {ref} changed during the search: it has {len(found.examples)} rows "
                    "now, and other content than at the start of the search",
                    hint="Restore the file, or search the new data in another --study DIR.",
                )
            self._loaded[ref] = found
        return self._loaded[ref]

    def files(self, ref: str) -> tuple[Path, ...]:
        """Return the files behind a reference, those of its data set's other parts too."""
        if ref not in self._places:
            return ()
        spec = self._specs[self._places[ref][0]]
        named = [spec.file] if spec.file is not None else list((spec.files or {}).values())
        here = (name for name in named if name not in self._elsewhere.files)
        return tuple(path for path in map(self._path, here) if path.is_file())

    def digest(self, ref: str) -> str:
        """Return the content digest of exactly what `load` returns."""
        far = self.far(ref)
        return self.load(ref).digest if far is None else far.digest

    def labels(self, ref: str) -> tuple[str, ...]:
        """Return the answers of all parts of a reference's data set, sorted.

        A class that a split left out of one part is a competitor there all the same.
        """
        name, part = self._places[ref]
        spec = self._specs[name]
        found = set(self.load(ref).labels)
        if spec.split is not None and spec.file is not None:
            found |= {example.answer for example in self._content(name, spec, part).examples}
        for other in spec.files or {}:
            try:
                answers = self._content(name, spec, other)
            except DataError:  # what refers to it says so; without answers it has no labels
                continue
            found |= {example.answer for example in answers.examples}
        return tuple(sorted(found))

    def check(self, ref: str) -> None:
        """Load a reference for its errors."""
        self.load(ref)

    def notes(self, refs: Iterable[str]) -> tuple[str, ...]:
        """Return what should be known of the files behind some references, each once."""
        found: dict[str, None] = {}
        for ref in refs:
            name, part = self._places[ref]
            spec = self._specs[name]
            data = self._content(name, spec, part)
            found |= dict.fromkeys(f"data set {name!r}: {note}" for note in data.notes)
        return tuple(found)

    def overlap(self, train: str, test: str) -> str | None:
        """Return a warning if two references share texts; None if they do not.

        A split never does; files that come divided, or a whole data set beside its part, may.
        """
        mine = {same_text(_text_of(example)) for example in self.load(train).examples}
        examples = self.load(test).examples
        shared = [e for e in examples if same_text(_text_of(e)) in mine]
        if not shared:
            return None
        return (
            f"{len(shared)} of {len(examples)} rows of {test} have a text that {train} has too, "
            f"such as {_text_of(shared[0])[:60]!r}: a metric on them does not show how the "
            "model does on new text"
        )

    def _load(self, ref: str) -> Dataset:
        if ref not in self._places:
            raise DataError(f"no data set {ref!r}", hint=nearest(ref, self.references))
        name, part = self._places[ref]
        spec = self._specs[name]
        data = self._content(name, spec, part)
        examples: Sequence[Example] = data.examples
        if part and spec.split is not None and spec.file is not None:
            examples = _divide(spec.split, data)[part]
        if not examples:
            raise DataError(
                f"{ref}: no rows", hint="An empty data set trains and measures nothing."
            )
        content: list[Json] = [spec.chat, [_identity(example) for example in examples]]
        if spec.corpus is not None:
            content.append(spec.corpus.model_dump(mode="json"))
        return Dataset(ref, tuple(examples), spec.chat, digest(content), spec.corpus)

    def _content(self, name: str, spec: DataSpec, part: str) -> ReadData:
        """Return what a data set's file holds; each is read once."""
        place = _place_in(spec, part)
        key = (name, place)
        if key not in self._read:
            rows, file = self._rows(spec, place)
            found = read_examples(spec, rows, file)
            if not found.examples:
                why = f" ({found.notes[0].removeprefix(f'{file}: ')})" if found.notes else ""
                raise DataError(f"{file} has no rows{why}", hint="Expected at least one.")
            self._read[key] = found
        return self._read[key]

    def _rows(self, spec: DataSpec, place: str) -> tuple[Iterator[Row], str]:
        if spec.hub is not None:
            rows = read_hub(
                spec.hub,
                spec.config,
                spec.revision,
                place,
                self._allow_network,
                columns=spec.columns,
                limit=spec.limit,
            )
            return rows, f"{spec.hub} ({place})"
        file = spec.files[place] if spec.files is not None else spec.file
        assert file is not None
        return iter_rows(
            self._path(file), spec.format, columns=spec.columns, limit=spec.limit
        ), file

    def _path(self, name: str) -> Path:
        if is_azure(name):
            return self._copy(name)
        beside = self._root / name
        try:
            return beside if beside.exists() or not Path(name).exists() else Path(name)
        except PermissionError as error:
            raise DataError(
                f"data file {name!r}: cannot be looked for: {error.strerror}",
                hint="Give this user the right to enter its folder.",
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(
                f"data file {name[:60]!r}: no file can have this name: {error}",
                hint="Give the path of a data file.",
            ) from error

    def _copy(self, address: str) -> Path:
        """Return where a file in Azure is read here.

        Raises:
            DataError: It is not: another machine reads it, or nothing copies it.
        """
        if address in self._elsewhere.files:
            raise DataError(
                f"data file {address!r} is read on {self._elsewhere.where!r} only",
                hint="This machine knows its digest and how many rows it has.",
            )
        if self._copied is None:
            raise DataError(
                f"data file {address!r} is in Azure, and is not copied for this command",
                hint="Copy it to this machine, and name the copy.",
            )
        return self._copied(address)

    def to_json(self) -> Json:
        """Return what `from_json` needs; paths are made absolute, for a process elsewhere.

        Files that only another machine reads have the paths that stand for them.
        """
        far = {address: str(file.path) for address, file in self._elsewhere.files.items()}
        digests = {ref: found.digest for ref, found in self._loaded.items()}
        digests |= {ref: part.digest for ref, part in self._elsewhere.parts.items()}
        value: dict[str, Json] = {
            "specs": {
                n: with_paths(s, far).model_dump(mode="json") for n, s in self._specs.items()
            },
            "root": str(self._root.resolve()),
            "allow_network": self._allow_network,
            "digests": digests,
        }
        if far:
            value["elsewhere"] = self._elsewhere.to_json()
            files = self._elsewhere.files.values()
            value["addresses"] = {file.sha256: file.address for file in files}
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataCatalog:
        """Read what `to_json` wrote."""
        specs = {name: DataSpec(**spec) for name, spec in value["specs"].items()}
        elsewhere = Elsewhere.from_json(value["elsewhere"]) if "elsewhere" in value else None
        made = cls(specs, Path(value["root"]), value["allow_network"], elsewhere)
        made._expected = dict(value.get("digests", {}))
        return made


def _place_in(spec: DataSpec, part: str) -> str:
    """Return which of a data set's files holds a part; empty where there is one only."""
    if spec.files is not None:
        return part
    return part or "train" if spec.hub is not None else ""


def references_of(name: str, spec: DataSpec) -> dict[str, tuple[str, str]]:
    """Return a data set's references, each with the name and the part that it means."""
    whole = {} if spec.files is not None else {name: (name, "")}
    return whole | {f"{name}.{part}": (name, part) for part in spec.splits}


def _identity(example: Example) -> Json:
    """Return what makes an example this one."""
    if example.turns:
        return [[turn.role, turn.content] for turn in example.turns]
    return [example.prompt, example.answer]


def _text_of(example: Example) -> str:
    return example.prompt or example.answer


def same_text(text: str) -> str:
    """Return a text as it is compared: differences in white space do not make it another."""
    return " ".join(text.split())


def _divide(split: Split, data: ReadData) -> dict[str, list[Example]]:
    """Return train, test and the held-out part; all examples of a group are in one part.

    Groups are shuffled by the seed and go to the test part until it has its share of them, then to
    the held-out part: the test part is the same with or without a held-out part.
    """
    keys = [same_text(group) for group in data.groups]
    groups = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    random.Random(split.seed).shuffle(groups)
    test = round(split.test * len(groups))
    aside = test + round((split.confirm or 0.0) * len(groups))
    side_of = dict.fromkeys(groups, "train") | dict.fromkeys(groups[test:aside], "confirm")
    side_of |= dict.fromkeys(groups[:test], "test")
    sides: dict[str, list[Example]] = {"train": [], "test": [], "confirm": []}
    for key, example in zip(keys, data.examples, strict=True):
        sides[side_of[key]].append(example)
    return sides
