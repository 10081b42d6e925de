"""A data set as a configuration describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paretune.azure.addresses import is_azure
from paretune.data.cells import Reading
from paretune.data.corpus import CorpusSpec
from paretune.data.templates import columns_of

TEXTS, ARRAYS = "texts", "arrays"
FORMS = frozenset({TEXTS, ARRAYS})
"""What a data set holds: what a pass or an evaluator `reads`."""
_KEYS = ("prompt", "text", "messages", "inputs")


class Split(BaseModel):
    """How one file is divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: float = Field(0.3, gt=0, lt=1, description="Share of the distinct texts for `.test`.")
    group: str | None = Field(
        None,
        min_length=1,
        description="Rows with the same value in this column stay on one side; by default rows "
        "with the same prompt do.",
    )
    seed: int = Field(0, description="Another seed gives another division.")
    confirm: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the distinct texts that is held out, as `.confirm`: nothing is "
        "trained, measured or chosen on it, and at the end the pick is measured on it.",
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> Split:
        if self.confirm is not None and self.test + self.confirm >= 1:
            raise ValueError(
                f"test ({self.test:g}) and confirm ({self.confirm:g}) leave nothing to train on: "
                "expected less than 1 together"
            )
        return self


class DataSpec(BaseModel):
    """One data set of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(
        None,
        description="A .jsonl, .json, .csv, .tsv, .parquet, .txt file; with `inputs` also .npz.",
    )
    files: dict[str, str] | None = Field(
        None, description="Split name to file, where the data comes divided."
    )
    hub: str | None = Field(None, description="A Hugging Face data set (needs --allow-network).")
    config: str | None = Field(None, description="Configuration of the hub data set.")
    revision: str | None = Field(None, description="Revision of the hub data set.")
    format: Literal["json", "jsonl", "csv", "tsv", "parquet", "text", "npz"] | None = Field(
        None, description="The file's format, where its suffix does not tell."
    )
    prompt: str | None = Field(None, description="Template of the prompt: columns in braces.")
    answer: str | None = Field(None, description="Template of the answer.")
    text: str | None = Field(None, description="Template of plain text, instead of both.")
    messages: str | None = Field(
        None,
        min_length=1,
        description="Column with a conversation, instead of all three: turns with `role` and "
        "`content`, or with `from` and `value`. The model's own chat template renders it.",
    )
    corpus: CorpusSpec | None = Field(
        None, description="Turn `text` into training sequences: joined and cut, or line by line."
    )
    chat: bool = Field(False, description="Wrap the prompt by the model's own chat template.")
    inputs: dict[str, str] | None = Field(
        None,
        min_length=1,
        description="Instead of a text: of each input of a network the column that it is made "
        "from.",
    )
    read: dict[str, Reading] | None = Field(
        None,
        description="How a column of `inputs` is read; by default as an array: a list of numbers, "
        "or the path of an .npy file.",
    )
    process: str | None = Field(
        None,
        min_length=1,
        description="Pre-processing of `inputs`: the folder of a transformers processor or "
        "tokenizer, a model on the hub that has one (needs --allow-network), or `module:function` "
        "(needs --trust-remote-code).",
    )
    target: str | None = Field(
        None, min_length=1, description="Column with the right answer to `inputs`."
    )
    split: Split | None = Field(None, description="Divide one file into `.train` and `.test`.")
    skip: int = Field(0, ge=0, description="Leave out the first so many rows.")
    limit: int | None = Field(
        None, gt=0, description="Use so many rows only, after those that are left out."
    )

    @model_validator(mode="after")
    def _one_source_and_one_form(self) -> DataSpec:
        given = [n for n in ("file", "files", "hub") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of file, files and hub, found {given or 'none'}")
        forms = [n for n in _KEYS if getattr(self, n) is not None]
        if len(forms) != 1:
            raise ValueError(
                "expected either `text`, or `prompt` with `answer`, or `messages`, or `inputs`"
                + (f", found {' and '.join(forms)}" if forms else "")
            )
        self._arrays_or_texts()
        if self.prompt is not None and self.answer is None:
            raise ValueError("`prompt` needs `answer` beside it")
        if self.messages is not None and self.answer is not None:
            raise ValueError("`messages` holds the answers itself; leave `answer` out")
        if self.corpus is not None and self.text is None:
            raise ValueError("`corpus` is made of `text`: give a `text` template beside it")
        if self.split is not None and self.files is not None:
            raise ValueError("`split` divides one file; `files` come divided")
        if self.split is not None and self.hub is not None:
            raise ValueError(
                "`split` divides one file; a data set of the hub comes divided: leave `split` out, "
                "and name its parts as `.train`, `.validation` or `.test`"
            )
        return self

    def _arrays_or_texts(self) -> None:
        """Refuse keys of the other form."""
        if self.inputs is None:
            for key in ("read", "process", "target"):
                if getattr(self, key) is not None:
                    raise ValueError(f"`{key}` belongs to `inputs`, which is not given")
            if self.format == "npz" or (self.file or "").endswith(".npz"):
                raise ValueError("an .npz file holds arrays: name them by `inputs`")
            return
        if self.answer is not None:
            raise ValueError("`answer` belongs to `prompt`; of `inputs`, `target` names the labels")
        if self.corpus is not None:
            raise ValueError("`corpus` does not go together with `inputs`")
        if self.chat:
            raise ValueError("`chat` does not go together with `inputs`")
        strange = sorted(set(self.read or {}) - set(self.inputs.values()))
        if strange:
            raise ValueError(
                f"`read` names the column {strange[0]!r}, which is none of `inputs` "
                f"({', '.join(sorted(set(self.inputs.values())))})"
            )
        texts = [column for column, how in (self.read or {}).items() if how == "text"]
        if texts and self.process is None:
            raise ValueError(
                f"column {texts[0]!r} is text, and a network takes arrays: give `process`, the "
                "folder of a tokenizer or a function"
            )

    @property
    def last(self) -> int | None:
        """How many rows are read; None: all. The first `skip` of them are left out."""
        return None if self.limit is None else self.skip + self.limit

    @property
    def form(self) -> str:
        """What the data set holds, of `FORMS`."""
        return TEXTS if self.inputs is None else ARRAYS

    @property
    def readings(self) -> Mapping[str, Reading]:
        """How each column of `inputs` is read, in their order."""
        named = self.read or {}
        return {column: named.get(column, "array") for column in (self.inputs or {}).values()}

    @property
    def in_azure(self) -> bool:
        """Whether all of its files are in Azure, and no part is held out for the pick."""
        named = [self.file] if self.file is not None else list((self.files or {}).values())
        aside = self.split is not None and self.split.confirm is not None
        texts = self.inputs is None
        return texts and bool(named) and all(map(is_azure, named)) and not aside

    @property
    def splits(self) -> tuple[str, ...]:
        """Names that may follow the data set's name in a reference."""
        if self.split is not None:
            aside = () if self.split.confirm is None else ("confirm",)
            return ("train", "test", *aside)
        if self.files is not None:
            return tuple(self.files)
        return ("train", "validation", "test") if self.hub is not None else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        named = [c for t in (self.prompt, self.answer, self.text) if t for c in columns_of(t)]
        named += self.readings
        group = self.split and self.split.group
        named += [c for c in (self.messages, self.target, group) if c]
        return tuple(dict.fromkeys(named))
