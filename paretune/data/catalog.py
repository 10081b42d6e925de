"""Data sets: read, checked, split so that no text is on both sides, and turned into examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from paretune.azure.addresses import is_azure
from paretune.core.errors import DataError, InputChangedError, nearest
from paretune.core.jsontools import Json, digest
from paretune.core.permissions import Permissions
from paretune.data.array_files import ArrayFiles, overlap_of_arrays
from paretune.data.arrays import ArrayData
from paretune.data.dataset import Dataset, overlap_of_texts
from paretune.data.elsewhere import Elsewhere, FarPart, with_paths
from paretune.data.files import Row, iter_rows, read_hub
from paretune.data.kept_arrays import keep_rows, kept_rows
from paretune.data.processing import files_of_process
from paretune.data.references import place_in, references_of
from paretune.data.rows import Example, ReadData, read_examples
from paretune.data.spec import ARRAYS, DataSpec, Split
from paretune.data.splitting import divide, same_text
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


class DataCatalog:
    """A configuration's data sets, loaded when they are asked for.

    Args:
        specs: By name.
        root: Folder that relative paths start from.
        allow_network: Whether hub data sets may be fetched.
        elsewhere: Those that only another machine reads.
        copied: Returns the copy here of a file in Azure; None: none is made.
        trust_remote_code: Whether `process` may run a function that the configuration names.
    """

    def __init__(
        self,
        specs: Mapping[str, DataSpec],
        root: Path,
        allow_network: bool = False,
        elsewhere: Elsewhere | None = None,
        copied: Callable[[str], Path] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self._specs = dict(specs)
        self._root = root
        self._allow_network = allow_network
        self._elsewhere = elsewhere or Elsewhere()
        self._copied = copied
        self._trust_remote_code = trust_remote_code
        self._permissions = Permissions(allow_network, trust_remote_code)
        self._files = ArrayFiles(self._path, root, self._permissions)
        self._loaded: dict[str, Dataset | ArrayData] = {}
        self._read: dict[tuple[str, str], ReadData] = {}
        self._expected: dict[str, str] = {}
        self._kept: dict[str, Path] = {}

    @property
    def root(self) -> Path:
        """Folder that relative paths of the configuration start from."""
        return self._root

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
        return next(islice(self._rows(spec, place_in(spec, part))[0], number, None))

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
        """Return the number of examples of a reference, and of characters or numbers in them."""
        far = self.far(ref)
        if far is not None:
            return far.rows, far.characters
        if self.is_arrays(ref):
            data = self.arrays(ref)
            return len(data.rows), data.values
        examples = self.load(ref).examples
        return len(examples), sum(len(e.prompt) + len(e.answer) for e in examples)

    def load(self, ref: str) -> Dataset:
        """Return a data set, or one split of it.

        Raises:
            DataError: No such reference, or the file is missing, broken, empty or unlabelled.
            InputChangedError: It is not what the process that began the search read.
        """
        if self.is_arrays(ref):
            raise DataError(
                f"{ref} is a data set of arrays, expected one of texts",
                hint="Texts have `text:`, `prompt:` or `messages:` in place of `inputs:`.",
            )
        found = self._once(ref, self._load)
        assert isinstance(found, Dataset)
        return found

    def arrays(self, ref: str) -> ArrayData:
        """Return a data set of arrays, or one split of it.

        Raises:
            DataError: No such reference, its data set is one of texts, or the file is missing,
                broken or empty.
            InputChangedError: It is not what the process that began the search read.
        """
        if ref in self._places and not self.is_arrays(ref):
            raise DataError(
                f"{ref} is a data set of texts, expected one of arrays",
                hint="Name the network's inputs under `inputs:`, see docs/onnx.md.",
            )
        found = self._once(ref, self._load_arrays)
        assert isinstance(found, ArrayData)
        return found

    def _load_arrays(self, ref: str) -> ArrayData:
        if ref in self._kept:
            return kept_rows(self._kept[ref], ref)
        return self._files.load(ref, *self._place(ref))

    def keep(self, ref: str, folder: Path) -> Path:
        """Write the rows of a data set of arrays to a file, which jobs read in place of its own.

        Args:
            ref: Its reference.
            folder: Where; made if absent.

        Returns:
            The file.
        """
        data = self.arrays(ref)
        file = folder.resolve() / f"{data.digest.removeprefix('sha256:')[:24]}.zip"
        keep_rows(data, file)
        self._kept[ref] = file
        return file

    def is_arrays(self, ref: str) -> bool:
        """Return whether a reference is one of a data set of arrays."""
        return ref in self._places and self.spec_of(ref).form == ARRAYS

    def _once(self, ref: str, load: Callable[[str], Dataset | ArrayData]) -> Dataset | ArrayData:
        if ref not in self._loaded:
            found = load(ref)
            if self._expected.get(ref, found.digest) != found.digest:
                rows = found.rows if isinstance(found, ArrayData) else found.examples
                raise InputChangedError(
                    f"data {ref} changed during the search: it has {len(rows)} rows "
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
        found = [path for path in map(self._path, here) if path.is_file()]
        return (*found, *files_of_process(spec, self._root, self._permissions))

    def digest(self, ref: str) -> str:
        """Return the content digest of exactly what `load` returns."""
        far = self.far(ref)
        if far is not None:
            return far.digest
        return (self.arrays(ref) if self.is_arrays(ref) else self.load(ref)).digest

    def known_digest(self, ref: str) -> str:
        """Return the content digest of a reference; a job was given it, and reads nothing."""
        return self._expected.get(ref) or self.digest(ref)

    def labels(self, ref: str) -> tuple[str, ...]:
        """Return the answers of all parts of a reference's data set, sorted.

        A class that a split left out of one part is a competitor there all the same. Of arrays
        there are none: what a network chooses from is fixed by the network.
        """
        if self.is_arrays(ref):
            return ()
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
        (self.arrays if self.is_arrays(ref) else self.load)(ref)

    def notes(self, refs: Iterable[str]) -> tuple[str, ...]:
        """Return what should be known of the files behind some references, each once."""
        found: dict[str, None] = {}
        for ref in refs:
            name, part = self._places[ref]
            spec = self._specs[name]
            read = self._files.content if spec.form == ARRAYS else self._content
            data = read(name, spec, part)
            found |= dict.fromkeys(f"data set {name!r}: {note}" for note in data.notes)
        return tuple(found)

    def overlap(self, train: str, test: str) -> str | None:
        """Return a warning if two references share texts; None if they do not.

        A split never does; files that come divided, or a whole data set beside its part, may.
        """
        if self.is_arrays(train) and self.is_arrays(test):
            return overlap_of_arrays(self.arrays(train), self.arrays(test))
        if self.is_arrays(train) or self.is_arrays(test):
            return None
        return overlap_of_texts(self.load(train), self.load(test))

    def _place(self, ref: str) -> tuple[str, DataSpec, str]:
        if ref not in self._places:
            raise DataError(f"no data set {ref!r}", hint=nearest(ref, self.references))
        name, part = self._places[ref]
        return name, self._specs[name], part

    def _load(self, ref: str) -> Dataset:
        name, spec, part = self._place(ref)
        data = self._content(name, spec, part)
        examples: Sequence[Example] = data.examples
        if part and spec.split is not None and spec.file is not None:
            kept = divide(spec.split, data.groups)[part]
            examples = [data.examples[number] for number in kept]
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
        place = place_in(spec, part)
        key = (name, place)
        if key not in self._read:
            rows, file = self._rows(spec, place)
            found = read_examples(spec, islice(rows, spec.skip, None), file)
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
                limit=spec.last,
            )
            return rows, f"{spec.hub} ({place})"
        file = spec.files[place] if spec.files is not None else spec.file
        assert file is not None
        return iter_rows(self._path(file), spec.format, columns=spec.columns, limit=spec.last), file

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
            "trust_remote_code": self._trust_remote_code,
            "digests": digests,
        }
        if self._kept:
            value["kept"] = {ref: str(file) for ref, file in self._kept.items()}
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
        trusted = value.get("trust_remote_code", False)
        made = cls(
            specs,
            Path(value["root"]),
            value["allow_network"],
            elsewhere,
            trust_remote_code=trusted,
        )
        made._expected = dict(value.get("digests", {}))
        made._kept = {ref: Path(file) for ref, file in value.get("kept", {}).items()}
        return made


def _identity(example: Example) -> Json:
    """Return what makes an example this one."""
    if example.turns:
        return [[turn.role, turn.content] for turn in example.turns]
    return [example.prompt, example.answer]
