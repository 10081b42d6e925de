"""Data sets: read, checked, split so that no text is on both sides, and turned into examples."""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paretune.corpus import CorpusSpec
from paretune.data_files import Row, read_hub, read_rows
from paretune.errors import DataError, nearest
from paretune.jsontools import Json, digest


class Split(BaseModel):
    """How one file is divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: float = Field(0.3, gt=0, lt=1, description="Share of the distinct texts for `.test`.")
    group: str | None = Field(
        None,
        description="Rows with the same value in this column stay on one side; by default rows "
        "with the same prompt do.",
    )
    seed: int = Field(0, description="Another seed gives another division.")


class DataSpec(BaseModel):
    """One data set of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(None, description="A .jsonl, .json, .csv, .parquet or .txt file.")
    files: dict[str, str] | None = Field(
        None, description="Split name to file, where the data comes divided."
    )
    hub: str | None = Field(None, description="A Hugging Face data set (needs --allow-network).")
    config: str | None = Field(None, description="Configuration of the hub data set.")
    revision: str | None = Field(None, description="Revision of the hub data set.")
    format: Literal["json", "jsonl", "csv", "parquet", "text"] | None = Field(
        None, description="The file's format, where its suffix does not tell."
    )
    prompt: str | None = Field(None, description="Template of the prompt: columns in braces.")
    answer: str | None = Field(None, description="Template of the answer.")
    text: str | None = Field(None, description="Template of plain text, instead of both.")
    corpus: CorpusSpec | None = Field(
        None, description="Turn `text` into training sequences: joined and cut, or line by line."
    )
    chat: bool = Field(False, description="Wrap the prompt by the model's own chat template.")
    split: Split | None = Field(None, description="Divide one file into `.train` and `.test`.")
    limit: int | None = Field(None, gt=0, description="Use the first so many rows only.")

    @model_validator(mode="after")
    def _one_source_and_one_form(self) -> DataSpec:
        given = [n for n in ("file", "files", "hub") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of file, files and hub, found {given or 'none'}")
        if (self.text is None) == (self.prompt is None):
            raise ValueError("expected either `text`, or `prompt` with `answer`")
        if self.prompt is not None and self.answer is None:
            raise ValueError("`prompt` needs `answer` beside it")
        if self.corpus is not None and self.text is None:
            raise ValueError("`corpus` is made of `text`: give a `text` template beside it")
        if self.split is not None and self.files is not None:
            raise ValueError("`split` divides one file; `files` come divided")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Names that may follow the data set's name in a reference."""
        if self.split is not None:
            return ("train", "test")
        if self.files is not None:
            return tuple(self.files)
        return ("train", "validation", "test") if self.hub is not None else ()


@dataclass(frozen=True)
class Example:
    """A prompt and the answer that is right.

    Attributes:
        prompt: The filled-in template; empty for plain text.
        answer: The filled-in answer, or the text.
        row: 0-based row in its file.
    """

    prompt: str
    answer: str
    row: int


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
        """Distinct answers, sorted."""
        return tuple(sorted({example.answer for example in self.examples}))


class DataCatalog:
    """A configuration's data sets, loaded when they are asked for.

    Args:
        specs: By name.
        root: Folder that relative paths start from.
        allow_network: Whether hub data sets may be fetched.
    """

    def __init__(
        self, specs: Mapping[str, DataSpec], root: Path, allow_network: bool = False
    ) -> None:
        self._specs = dict(specs)
        self._root = root
        self._allow_network = allow_network
        self._loaded: dict[str, Dataset] = {}

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference that can be loaded."""
        whole = [name for name, spec in self._specs.items() if spec.files is None]
        parts = [f"{name}.{part}" for name, spec in self._specs.items() for part in spec.splits]
        return tuple(sorted(whole + parts))

    def load(self, ref: str) -> Dataset:
        """Return a data set, or one split of it.

        Raises:
            DataError: No such reference, or the file is missing, broken, empty or unlabelled.
        """
        if ref not in self._loaded:
            self._loaded[ref] = self._load(ref)
        return self._loaded[ref]

    def digest(self, ref: str) -> str:
        """Return the content digest of exactly what `load` returns."""
        return self.load(ref).digest

    def check(self, ref: str) -> None:
        """Load a reference for its errors."""
        self.load(ref)

    def check_labels(self, train: str, test: str) -> None:
        """Refuse a label in the test data that the training data never shows.

        Raises:
            DataError: Names the label and a row that has it.
        """
        seen = set(self.load(train).labels)
        for example in self.load(test).examples:
            if example.answer not in seen:
                raise DataError(
                    f"{test}: row {example.row + 1} has the answer {example.answer!r}, which "
                    f"{train} never shows",
                    hint=f"Answers in {train}: {', '.join(sorted(seen)[:20])}.",
                )

    def overlap(self, train: str, test: str) -> str | None:
        """Return what is to be told if two references share texts; None if they do not.

        A split never does; files that come divided, or a whole data set beside its part, may.
        """
        mine = {_same_text(_text_of(example)) for example in self.load(train).examples}
        examples = self.load(test).examples
        shared = [e for e in examples if _same_text(_text_of(e)) in mine]
        if not shared:
            return None
        return (
            f"{len(shared)} of {len(examples)} rows of {test} have a text that {train} has too, "
            f"such as {_text_of(shared[0])[:60]!r}: what is measured on them says little"
        )

    def _load(self, ref: str) -> Dataset:
        name, _, part = ref.partition(".")
        spec = self._specs.get(name)
        if spec is None or ref not in self.references:
            raise DataError(f"no data set {ref!r}", hint=nearest(ref, self.references))
        if spec.files is not None:
            examples = self._examples(spec, spec.files[part], ref)
        elif spec.hub is not None:
            rows = read_hub(spec.hub, spec.config, spec.revision, part or "train",
                            self._allow_network)  # fmt: skip
            examples = _fill(spec, _limited(spec, rows), f"{spec.hub} ({part or 'train'})")
        else:
            assert spec.file is not None
            examples = self._examples(spec, spec.file, ref)
            if part:
                assert spec.split is not None
                rows = self._rows(spec, spec.file)
                examples = _divide(spec.split, examples, rows, spec.file)[part]
        if not examples:
            raise DataError(
                f"{ref}: no rows", hint="An empty data set trains and measures nothing."
            )
        content: list[Json] = [spec.chat, [[e.prompt, e.answer] for e in examples]]
        if spec.corpus is not None:
            content.append(spec.corpus.model_dump(mode="json"))
        return Dataset(ref, tuple(examples), spec.chat, digest(content), spec.corpus)

    def _path(self, name: str) -> Path:
        beside = self._root / name
        try:
            return beside if beside.exists() or not Path(name).exists() else Path(name)
        except (OSError, ValueError) as error:
            raise DataError(
                f"data file {name[:60]!r}: no file can have this name: {error}",
                hint="Give the path of a data file.",
            ) from error

    def _rows(self, spec: DataSpec, file: str) -> list[Row]:
        return _limited(spec, read_rows(self._path(file), spec.format))

    def _examples(self, spec: DataSpec, file: str, ref: str) -> list[Example]:
        rows = self._rows(spec, file)
        if not rows:
            raise DataError(f"{ref}: {file} has no rows", hint="Expected at least one.")
        return _fill(spec, rows, file)

    def to_json(self) -> Json:
        """Return what `from_json` needs; paths are made absolute, for a process elsewhere."""
        return {
            "specs": {n: s.model_dump(mode="json") for n, s in self._specs.items()},
            "root": str(self._root.resolve()),
            "allow_network": self._allow_network,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataCatalog:
        """Read what `to_json` wrote."""
        specs = {name: DataSpec(**spec) for name, spec in value["specs"].items()}
        return cls(specs, Path(value["root"]), value["allow_network"])


def _limited(spec: DataSpec, rows: list[Row]) -> list[Row]:
    return rows if spec.limit is None else rows[: spec.limit]


def columns_of(template: str) -> tuple[str, ...]:
    """Return the columns that a template names.

    Raises:
        ValueError: The template has more than plain columns in braces.
    """
    names = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if form or conversion or not name or set(name) & set(".[]"):
            raise ValueError(
                f"template {template!r}: expected a column's name in braces, found {name!r}"
            )
        names.append(name)
    return tuple(names)


def _fill(spec: DataSpec, rows: Iterable[Row], file: str) -> list[Example]:
    templates = (spec.prompt or "", spec.answer if spec.text is None else spec.text)
    examples = []
    for number, row in enumerate(rows):
        prompt, answer = (_filled(t or "", row, number, file) for t in templates)
        if not answer.strip():
            raise DataError(
                f"{file}: row {number + 1} has no answer (template {templates[1]!r} is empty)",
                hint="Every row needs one: remove the row, or give it its answer.",
            )
        examples.append(Example(prompt, answer, number))
    return examples


def _filled(template: str, row: Row, number: int, file: str) -> str:
    values = {}
    for column in columns_of(template):
        if column not in row:
            raise DataError(
                f"{file}: row {number + 1} has no column {column!r}, which the template "
                f"{template!r} names",
                hint=nearest(column, row),
            )
        values[column] = "" if row[column] is None else str(row[column])
    return template.format(**values)


def _text_of(example: Example) -> str:
    return example.prompt or example.answer


def _same_text(text: str) -> str:
    """Return a text as it is compared: differences in white space do not make it another."""
    return " ".join(text.split())


def _divide(
    split: Split, examples: Sequence[Example], rows: Sequence[Row], file: str
) -> dict[str, list[Example]]:
    """Return train and test; all examples of a group are on one side.

    Groups are shuffled by the seed and go to the test side until it has its share of them.
    """
    keys = []
    for example, row in zip(examples, rows, strict=True):
        if split.group is not None and split.group not in row:
            raise DataError(
                f"{file}: row {example.row + 1} has no column {split.group!r}, which the split "
                "groups by",
                hint=nearest(split.group, row),
            )
        text = str(row[split.group]) if split.group is not None else _text_of(example)
        keys.append(_same_text(text))
    groups = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    random.Random(split.seed).shuffle(groups)
    chosen = set(groups[: round(split.test * len(groups))])
    sides: dict[str, list[Example]] = {"train": [], "test": []}
    for key, example in zip(keys, examples, strict=True):
        sides["test" if key in chosen else "train"].append(example)
    return sides
