"""Makes each variant with its maker's own tools, and keeps it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from common import ROOT
from fronting.texts import CALIBRATION
from tutorial import readable_by_olive

from paretune.core.distributions import package_version
from paretune.core.errors import PassError
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.registry import find_pass

VARIANTS = Path(__file__).parent / "variants.yaml"
OURS, BUILDER, OLIVE, LLAMA_CPP, OPENVINO = MAKERS = (
    "paretune",
    "GenAI builder",
    "Olive",
    "llama.cpp",
    "OpenVINO",
)
PEERS = ROOT / ".peers"
_OLIVE, _RUNTIMES = PEERS / "olive", PEERS / "runtimes"
_LIBRARY = _RUNTIMES / "llama/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
_QUIET = {
    # OLIVE_DISABLE_TELEMETRY alone still sends a first message with an identity of the machine.
    "CI": "true",
    "NNCF_CI": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
NOTE = "note.txt"
"""In a variant's folder: what was changed so that it runs."""
_LIMIT_S = 1800
_TOLD = 300


class NotMade(Exception):
    """A maker's tool does not make it, or a runtime does not run it."""


@dataclass(frozen=True)
class Variant:
    """A model to compare.

    Attributes:
        maker: One of `MAKERS`.
        name: Short; with the maker it says which variant it is.
        make: How it is made, in the maker's own words.
        run: Settings of the runtime.
        outside: Why it does not count for the goal; empty where it does.
    """

    maker: str
    name: str
    make: Any
    run: Mapping[str, Any] = field(default_factory=dict)
    outside: str = ""

    @property
    def title(self) -> str:
        """Name it beside those of other makers."""
        return f"{self.maker}: {self.name}"

    @property
    def runtime(self) -> str:
        """What computes with it."""
        return {LLAMA_CPP: "llama.cpp", OPENVINO: "openvino"}.get(self.maker, "genai")

    @property
    def interpreter(self) -> str:
        """The Python that has the runtime."""
        if self.runtime == "genai":
            return sys.executable
        return str(_RUNTIMES / "env/bin/python")

    def settings(self) -> dict[str, Any]:
        """Return what the engine is given beside the folder."""
        return {**self.run, "library": str(_LIBRARY)} if self.maker == LLAMA_CPP else {**self.run}

    def identity(self) -> dict[str, Any]:
        """Return what a kept row must have been made with to be taken again."""
        told = {"make": self.make, "run": dict(self.run)}
        return {**told, "versions": _versions(self)}


def read_variants(file: Path = VARIANTS) -> list[Variant]:
    """Return the list of variants.

    Raises:
        SystemExit: An unknown maker, or two of the same name.
    """
    found = [Variant(**each) for each in yaml.safe_load(file.read_text(encoding="utf-8"))]
    for place, each in enumerate(found):
        if each.maker not in MAKERS:
            raise SystemExit(f"{file}: {each.name}: maker {each.maker!r} is none of {MAKERS}")
        if each.title in {other.title for other in found[:place]}:
            raise SystemExit(f"{file}: {each.title} occurs twice")
    return found


def _versions(variant: Variant) -> list[str]:
    genai = [f"{p}=={package_version(p)}" for p in ("onnxruntime-genai", "onnxruntime")]
    if variant.maker == OURS:
        passes = [find_pass(next(iter(step))) for step in variant.make]
        return [*genai, *(f"pass {each.name} {each.version}" for each in passes)]
    if variant.maker == BUILDER:
        return genai
    folder = _OLIVE if variant.maker == OLIVE else _RUNTIMES
    stamp = folder / ".installed"
    if not stamp.is_file():
        raise SystemExit(f"no {folder}: run benchmarks/peers/{folder.name}.sh first")
    run_by = genai if variant.maker == OLIVE else []
    return [*stamp.read_text(encoding="utf-8").split(), *run_by]


class Workshop:
    """Makes variants of one model, in a folder where they are kept."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._model, self._folder = model, folder

    def built(self, variant: Variant) -> Path:
        """Return the folder of a variant; it is made if it is not there as it is to be.

        Raises:
            NotMade: Its maker does not make it; with what the tool said.
        """
        out = self._folder / "".join(c if c.isalnum() else "-" for c in variant.title)
        note = out / "made_of.json"
        wanted = variant.identity()
        if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == wanted:
            return out
        part = out.with_suffix(".part")
        for folder in (out, part):
            shutil.rmtree(folder, ignore_errors=True)
        part.mkdir(parents=True)
        maker = {
            OURS: self._ours,
            BUILDER: self._builder,
            OLIVE: self._olive,
            LLAMA_CPP: self._llama_cpp,
            OPENVINO: self._openvino,
        }[variant.maker]
        try:
            maker(variant, part)
            (part / note.name).write_text(json.dumps(wanted), encoding="utf-8")
            os.rename(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return out

    def _ours(self, variant: Variant, out: Path) -> None:
        model, *steps = self._model, *variant.make
        for place, step in enumerate(steps[:-1], start=1):
            # Kept by what it is made of: recipes that begin alike share it.
            told = json.dumps([_step_identity(each) for each in steps[:place]])
            kept = self._folder / "sources" / sha256(told.encode()).hexdigest()[:16]
            if not kept.is_dir():
                part = kept.with_suffix(".part")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                _run_pass(model, step, part)
                os.rename(part, kept)
            model = kept
        _run_pass(model, steps[-1], out)

    def _builder(self, variant: Variant, out: Path) -> None:
        options = [f"{key}={value}" for key, value in variant.make.get("options", {}).items()]
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", str(self._model), "-o", str(out), "-p", variant.make["precision"]]
        command += ["-e", "cpu", "-c", str(out / "cache")]
        _run([*command, *(["--extra_options", *options] if options else [])], out)

    def _olive(self, variant: Variant, out: Path) -> None:
        model = self._folder / "sources" / "olive"
        if not model.is_dir():
            model.parent.mkdir(parents=True, exist_ok=True)
            readable_by_olive(self._model, model)
        workflow = {
            "input_model": {"type": "HfModel", "model_path": str(model)},
            "data_configs": [self._olive_text()],
            "passes": {f"pass{n}": step for n, step in enumerate(variant.make)},
            "cache_dir": str(self._folder / "sources" / "olive_cache"),
            "output_dir": str(out / "made"),
            "log_severity_level": 1,
        }
        file = out / "workflow.json"
        file.write_text(json.dumps(workflow), encoding="utf-8")
        said = _run([str(_OLIVE / "bin/python"), "-m", "olive", "run", "--config", str(file)], out)
        found = sorted((out / "made").rglob("genai_config.json"))
        if not found:  # its command ends well where a pass failed
            raise NotMade(_last_error(said))
        for each in found[0].parent.iterdir():
            each.rename(out / each.name)
        shutil.rmtree(out / "made", ignore_errors=True)
        _name_the_output(out)

    def _olive_text(self) -> dict[str, Any]:
        return {
            "name": "calibration",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {
                "data_name": "text",
                "data_files": str(CALIBRATION),
                "split": "train",
            },
            "pre_process_data_config": {
                "text_cols": ["text"],
                "strategy": "join",
                "max_seq_len": 512,
                "max_samples": None,
                "pad_to_max_len": False,
            },
        }

    def _gguf(self, kind: str) -> Path:
        file = self._folder / "sources" / f"gguf_{kind}" / "model.gguf"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            converter = _RUNTIMES / "converter"
            command = [sys.executable, str(converter / "convert_hf_to_gguf.py"), str(self._model)]
            more = {"PYTHONPATH": str(converter)}
            _run([*command, "--outtype", kind, "--outfile", str(part)], file.parent, more)
            part.rename(file)
        return file

    def _llama_cpp(self, variant: Variant, out: Path) -> None:
        source = self._gguf("f32")
        self._by_runtimes(variant.maker, source, out, variant.make, library=str(_LIBRARY))

    def _openvino(self, variant: Variant, out: Path) -> None:
        source = self._folder / "sources" / "openvino"
        if not (source / "openvino_model.xml").is_file():
            source.mkdir(parents=True, exist_ok=True)
            # OpenVINO reads no fp32 of this format: these weights are rounded to fp16 first.
            self._by_runtimes("OpenVINO source", self._gguf("f16"), source, {})
        rows = _calibration_rows(self._model) if "calibrated" in variant.make else []
        self._by_runtimes(variant.maker, source, out, variant.make, rows=rows)

    def _by_runtimes(self, maker: str, source: Path, out: Path, make: Any, **more: Any) -> None:
        asked = {"maker": maker, "source": str(source), "out": str(out), "make": make, **more}
        script = Path(__file__).parent / "runtimes_maker.py"
        _run([str(_RUNTIMES / "env/bin/python"), str(script), json.dumps(asked)], out)


def _run_pass(model: Path, step: Mapping[str, Any], out: Path) -> None:
    """Run one pass of ours."""
    ((name, params),) = step.items()
    pass_ = find_pass(name)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        context = Context(out=out, scratch=Path(scratch), data=None)  # type: ignore[arg-type]
        try:
            pass_.run(open_model(model), pass_.Params(**params), context)
        except PassError as error:
            raise NotMade(str(error)) from error


def _step_identity(step: Mapping[str, Any]) -> list[Any]:
    ((name, params),) = step.items()
    return [name, find_pass(name).version, params]


def _name_the_output(folder: Path) -> None:
    """Write into a package's configuration what its graph calls the logits.

    Olive's passes on ONNX rename that output and leave the configuration as it was: the runtime
    then refuses the package. Where this was needed, `NOTE` says so.
    """
    import onnx

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    (name,) = (each.name for each in graph.output if each.name.startswith("logits"))
    file = folder / "genai_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    outputs = config["model"]["decoder"]["outputs"]
    if outputs["logits"] != name:
        outputs["logits"] = name
        file.write_text(json.dumps(config, indent=1), encoding="utf-8")
        told = "as made, its configuration does not name its output, and it does not run"
        (folder / NOTE).write_text(told, encoding="utf-8")


def _calibration_rows(model: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    lines = CALIBRATION.read_text(encoding="utf-8").splitlines()
    return [tokenizer(line)["input_ids"][:512] for line in lines if line.strip()]


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    given = {**os.environ, **_QUIET, **(environment or {})}
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMade(f"not made within {_LIMIT_S} s") from error
    if ended.returncode != 0:
        raise NotMade(_last_error(ended.stdout))
    return ended.stdout


def _last_error(said: str) -> str:
    """Return the line of a tool's output that most likely says why it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line and not line.startswith("File ")]
    return (errors or lines or ["it said nothing"])[-1][:_TOLD]


def megabytes(folder: Path) -> float:
    """Return the size of a variant's graph and weights."""
    kinds = ("model.onnx*", "*.gguf", "*model.xml", "*model.bin")
    return sum(file.stat().st_size for kind in kinds for file in folder.glob(kind)) / 1e6
