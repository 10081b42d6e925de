"""Olive's data configurations become entries of ``data:``, each when something refers to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from paretune.azure.addresses import data_address
from paretune.config.olive.encoding import encoded, pictured
from paretune.config.olive.entries import Ledger, Status, children
from paretune.config.olive.fields import (
    NULL,
    Fields,
    Node,
    Rule,
    apply,
    ignores,
    missing,
    near,
    nearly,
    no_effect,
    only,
    refused,
    shown,
    takes,
    text,
    texts,
)
from paretune.config.olive.model import remote_code
from paretune.config.olive.preparing import prepared
from paretune.config.olive.reading import DataConfig, Generation, read_data, read_models_data
from paretune.config.olive.resources import Resources, azure_text, is_resource
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.core.user_paths import expanded

_NAME = re.compile(r"[A-Za-z0-9_]+")
_CONTAINER = "huggingfacecontainer"
OF_MODEL = "__input_model_data_config__"
"""Olive's name of the data that the input model's configuration holds."""
_OF_MODEL_HERE = "input_model_data"
_FORMATS = ("json", "csv", "parquet", "text")
_SPLIT = re.compile(r"(?P<name>\w+)(?:\[(?P<from>\d{0,14}):(?P<to>[1-9]\d{0,14})\])?")
_HUB_SPLITS = ("train", "validation", "test")
_LOADERS = ("default_dataloader", "no_auto_batch_dataloader")
"""Olive's own, which only make batches."""
_OWN_TOKEN = "the access token stored by Hugging Face's tools is used, if there is one"

_LOADING: dict[str, Rule] = {
    "subset": takes("config", text),
    "revision": takes("revision", text),
    "streaming": nearly("paretune reads a data set whole"),
    "token": ignores(_OWN_TOKEN),
    "use_auth_token": ignores(_OWN_TOKEN),
    "type": only(
        "huggingface_dataset",
        why="Olive's default loader",
        otherwise="loads by another component; paretune reads files and data sets of the hub",
    ),
    "name": ignores("the name of a component, which changes nothing"),
    "col_filters": refused("paretune does not choose rows by their columns"),
    "data_dir": refused("paretune takes files by name, not by folder"),
}


@dataclass
class DataSets:
    """The data configurations of a workflow, translated one by one.

    Attributes:
        waiting: Those without a reference so far.
        ledger: Records the result for each key.
        generation: Determines the defaults of missing keys.
        root: The folder that relative paths start from; None: the configuration's folder.
        placed: Converts a path to the form that paretune's configuration needs.
        resources: Reads files that are given as resources, also in Azure.
        arrays: Whether the model takes arrays; else rows are texts.
        process: The model whose tokenizer makes a network's inputs of a row; None: rows are images.
        of_model: What the model itself says of its data; None: nothing.
        specs: The translated data sets, by name.
    """

    waiting: dict[str, Node]
    ledger: Ledger
    generation: Generation
    root: str | None
    placed: Callable[[str], str]
    resources: Resources
    arrays: bool = False
    process: str | None = None
    of_model: Node | None = None
    specs: dict[str, dict[str, Json]] = field(default_factory=dict)
    _references: dict[str, str] = field(default_factory=dict)
    _passed_over: dict[str, str] = field(default_factory=dict)

    def reference(self, node: Node, into: Path) -> str | None:
        """Return paretune's reference to the data set that a key names; None if there is none.

        Args:
            node: The key.
            into: The key of the reference in paretune's configuration.
        """
        name = node.value
        if name == OF_MODEL and self.of_model is not None:
            self.ledger.translated(node.path, into)
            return self.models_own()
        known = isinstance(name, str) and (name in self.waiting or name in self._references)
        if not known:
            hint = near(name, (*self.waiting, *self._references))
            why = f"no data configuration {shown(name)}{hint}"
            self.ledger.unsupported(node.path, why)
            return None
        self.ledger.translated(node.path, into)
        if name not in self._references:
            self._references[name] = self._translate(name, self.waiting.pop(name))
        return self._references[name]

    def models_own(self) -> str:
        """Return the reference to the data set that the model names.

        Raises:
            KeyError: It names none.
        """
        if self.of_model is None:
            raise KeyError(OF_MODEL)
        if OF_MODEL not in self._references:
            config = read_models_data(_OF_MODEL_HERE, self.of_model, self.ledger)
            self._references[OF_MODEL] = self._made(config)
        return self._references[OF_MODEL]

    def pass_over(self, node: Node, why: str) -> None:
        """Record a key that names a data set which paretune does not need."""
        self.ledger.approximated(node.path, None, why)
        if isinstance(node.value, str):
            self._passed_over.setdefault(node.value, why)

    def is_pair(self, reference: str) -> bool:
        """Return whether a data set has right answers."""
        # Not by the first dot: a name may hold one, and is refused with everything else then.
        names = (n for n in self.specs if reference == n or reference.startswith(f"{n}."))
        return not {"prompt", "inputs"}.isdisjoint(self.specs[max(names, key=len)])

    def close(self) -> None:
        """Record the data configurations without a reference."""
        if self.of_model is not None and OF_MODEL not in self._references:
            self.ledger.no_effect(self.of_model.path, "no translated key refers to it")
        for name, node in self.waiting.items():
            status, why = Status.NO_EFFECT, "no translated key refers to it"
            if name in self._passed_over:
                status, why = Status.APPROXIMATED, self._passed_over[name]
            self.ledger.record(node.path, status, None, why)

    def _translate(self, name: str, node: Node) -> str:
        config = read_data(name, node, self.ledger)
        self._own(config, ("data", name))
        return self._made(config)

    def _made(self, config: DataConfig) -> str:
        at: Path = ("data", config.name)
        source, reference = self._source(config, at)
        prepare, ledger = config.prepare, self.ledger
        if not self.arrays:
            made = prepared(prepare, self.generation, at, ledger)
        elif self.process is None:
            made = pictured(prepare, at, ledger)
        else:
            made = encoded(prepare, self.process, at, ledger)
        self.specs[config.name] = source | made
        self._unread(config.post, config.loader)
        return reference

    def _own(self, config: DataConfig, at: Path) -> None:
        """Record a data configuration's own keys: its name and its container."""
        name, kind = config.own.take("name"), config.own.take("type")
        wrong = f"expected letters, digits and _ as its name, found {shown(config.name)}"
        valid = _NAME.fullmatch(config.name) is not None
        if not valid:
            missing(self.ledger, config.own, "name", wrong, name)
        elif name is not None:
            self.ledger.translated(name.path, at)
        if kind is None:
            missing(self.ledger, config.own, "type", "Olive needs a container's type")
        elif isinstance(kind.value, str) and kind.value.lower() == _CONTAINER:
            self.ledger.translated(kind.path, at)
        else:
            self.ledger.unsupported(
                kind.path, f"paretune reads a HuggingfaceContainer, not {shown(kind.value)}"
            )
        apply({}, config.own, self.ledger, of="a data configuration")

    def _unread(self, post: Fields, loader: Fields) -> None:
        """Record the keys that only Olive's evaluators read: post-processing, and batching of rows.

        Each of the two is a component of its own, and may name its type.
        """
        why = "paretune makes its own batches"
        for fields, known in ((loader, _LOADERS), (post, ())):
            kind = fields.take("type")
            if kind is not None and kind.value in known:
                self.ledger.no_effect(kind.path, why)
            elif kind is not None:
                self.ledger.unsupported(kind.path, "paretune does not run other components")
        for fields in (post, loader):
            fields.rest(self.ledger, Status.NO_EFFECT, why)

    def _source(self, config: DataConfig, at: Path) -> tuple[dict[str, Json], str]:
        """Return the source of the rows, and the reference to the selected ones."""
        load, ledger = config.load, self.ledger
        name, files, split, remote = (
            load.take(key) for key in ("data_name", "data_files", "split", "trust_remote_code")
        )
        remote_code(remote, ledger)
        spec = apply(_LOADING, load, ledger, at, of="loading a data set")
        if name is None or not isinstance(name.value, str):
            why = "expected the name of a file format, or of a data set of the hub"
            missing(ledger, load, "data_name", why, name)
            no_effect(ledger, "it belongs to no data set", files, split)
            return spec, config.name
        if files is None or files.value is None:
            no_effect(ledger, NULL, files)
            ledger.translated(name.path, (*at, "hub"), "needs --allow-network")
            part, limit = self._split(split, _HUB_SPLITS, load, at)
            return {"hub": name.value, **spec, **limit}, f"{config.name}.{part}"
        if name.value in _FORMATS:
            ledger.translated(name.path, (*at, "format"))
            spec["format"] = name.value
        else:
            ledger.unsupported(
                name.path, f"paretune reads files of {', '.join(_FORMATS)}, not {name.value!r}"
            )
        where = self._files(files, at)
        parts = tuple(where.get("files", ("train",)))
        part, limit = self._split(split, parts, load, at)
        reference = f"{config.name}.{part}" if "files" in where else config.name
        return {**where, **spec, **limit}, reference

    def _files(self, node: Node, at: Path) -> dict[str, Json]:
        """Return a file, or files by split."""
        if is_resource(node.value):
            found = self.resources.file(node, (*at, "file"))
            return {} if found is None else {"file": found}
        if isinstance(node.value, dict) and any(map(is_resource, node.value.values())):
            return self._by_split(node, (*at, "files"))
        by_split = isinstance(node.value, dict)
        try:
            if node.value in ({}, []):
                raise ValueError("expected a file")
            if by_split:
                files: Json = {text(part): self._file(file) for part, file in node.value.items()}
            else:
                files = self._file(node.value)
        except ValueError as error:
            self.ledger.unsupported(node.path, str(error))
            return {}
        key = "files" if by_split else "file"
        self.ledger.translated(node.path, (*at, key))
        return {key: files}

    def _by_split(self, node: Node, at: Path) -> dict[str, Json]:
        """Return files by split, some of which are resources."""
        found: dict[str, Json] = {}
        for path, value in children(node.path, node.value):
            part, into = str(path[-1]), (*at, str(path[-1]))
            if is_resource(value):
                found[part] = self.resources.file(Node(path, value), into)
                continue
            try:
                found[part] = self._file(value)
            except ValueError as error:
                self.ledger.unsupported(path, str(error))
                continue
            self.ledger.translated(path, into)
        files: Json = {part: file for part, file in found.items() if file is not None}
        return {"files": files} if files else {}

    def _file(self, value: Json) -> str:
        """Return one file's path; a list of one is that one."""
        names = texts(value)
        if len(names) > 1:
            raise ValueError("several files as one data set; put their rows into one file")
        name = names[0]
        address = azure_text(name, data_address)
        if address is not None:
            return address
        if "://" in name:
            raise ValueError(
                "paretune reads local files and Azure's datastores; nothing is fetched from other "
                "addresses"
            )
        if self.root is not None and not FilePath(expanded(name)).is_absolute():
            name = f"{self.root}/{name}"
        return self.placed(name)

    def _split(
        self, node: Node | None, parts: Iterable[str], load: Fields, at: Path
    ) -> tuple[str, dict[str, Json]]:
        """Return the split and its limit; ``train[:4096]`` can be expressed in paretune."""
        known = tuple(parts)
        if node is None or node.value is None:
            default = "validation" if "validation" in known else known[0]
            path = (*load.path, "split") if node is None else node.path
            if default == "validation":
                status, why = Status.ADDED, "Olive's default: validation"
            else:
                why = "a file has no split validation, Olive's default: all of its rows are used"
                status = Status.APPROXIMATED
            if node is None:
                self.ledger.absent(path, at, why, status)
            else:
                self.ledger.approximated(path, at, why)
            return default, {}
        found = _SPLIT.fullmatch(node.value) if isinstance(node.value, str) else None
        if found is None or found["name"] not in known:
            slices = "" if found else ", or rows of it (train[:4096], train[4096:8192]), no shares"
            self.ledger.unsupported(
                node.path, f"expected {' or '.join(known)}{slices}, found {shown(node.value)}"
            )
            return known[0], {}
        if found["to"] is None:
            self.ledger.translated(node.path, at)
            return found["name"], {}
        first, end = int(found["from"] or 0), int(found["to"])
        if first >= end:
            self.ledger.unsupported(node.path, f"no rows: {shown(node.value)}")
            return found["name"], {}
        self.ledger.translated(node.path, (*at, "limit"))
        skip: dict[str, Json] = {"skip": first} if first else {}
        return found["name"], {**skip, "limit": end - first}
