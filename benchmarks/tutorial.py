"""The tutorial's flow beside Microsoft Olive's: python benchmarks/tutorial.py.

LoRA of ten steps (or ``--steps``) on texts joined to 2048 tokens, merge, GenAI int4: the same
model, data and settings on both sides, in fp32, one after the other. Olive runs in the environment
that ``benchmarks/peers/olive.sh`` makes. What is compared: wall time of the whole command, peak
memory of its tree of processes, and the loss of each step. Ours runs in several ways: as the page
has it; with ``dtype: auto``, which trains in bf16 where that is faster and the loss stays the same;
with ``gradient_checkpointing: selective``, which computes the same in less memory, and with both;
and with as many tokens a step in texts that do not see each other, which is another training.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import ROOT, public_data, save, table

from paretune.targets.process_tree import memory_of

_TEMPLATE = "### Text: {phrase}\n### The tone is:\n{tone}"
# The page trains Phi-3's o_proj and qkv_proj; these are the same matrices of a Llama.
_TARGETS = ["o_proj", "q_proj", "k_proj", "v_proj"]
_QUIET = {
    "CI": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


_WAYS: dict[str, dict[str, Any]] = {
    "paretune": {},
    "paretune, auto": {"dtype": "auto"},
    "paretune, selective": {"gradient_checkpointing": "selective"},
    "paretune, selective, auto": {"gradient_checkpointing": "selective", "dtype": "auto"},
    "paretune, selective, texts apart": {
        "gradient_checkpointing": "selective",
        "batching": "padding_free",
        "batch_size": 61,  # of these texts make the 2048 tokens of a joined row
    },
}


@dataclass(frozen=True)
class Ran:
    """One command from its start to its end.

    Attributes:
        seconds: Wall time.
        peak_mb: Peak memory (PSS and swap) of its tree of processes, in 10^6 bytes, looked at once
            a second.
        output: What it printed.
    """

    seconds: float
    peak_mb: float
    output: str


def run(command: list[str], folder: Path, **environment: str) -> Ran:
    """Run a command and watch its memory."""
    start = time.monotonic()
    with open(folder / "output.txt", "w+", encoding="utf-8") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, env={**os.environ, **environment}
        )
        peak = _watched(process)
        seconds = time.monotonic() - start
        out.seek(0)
        output = out.read()
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{output[-3000:]}")
    return Ran(seconds, peak / 1e6, output)


def _watched(process: subprocess.Popen[bytes]) -> int:
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not ended.wait(1.0):  # reading it costs; more often, it would slow what is timed
            try:
                tree = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            peak = max(peak, sum(map(memory_of, tree)))

    watcher = threading.Thread(target=look)
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    return peak


def readable_by_olive(model: Path, folder: Path) -> Path:
    """Return the same model as transformers 4 reads it, which Olive needs.

    Left as they are, the tokenizer's class is refused, and the rotary base is passed over in
    silence: another model, whose loss is a tenth higher.
    """
    copy = Path(shutil.copytree(model, folder, copy_function=os.link))
    rope = json.loads((copy / "config.json").read_text(encoding="utf-8"))["rope_parameters"]
    _replace(copy / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    _replace(copy / "config.json", rope_theta=rope["rope_theta"])
    return copy


def _replace(file: Path, **settings: Any) -> None:
    old = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()  # a link: the model's own stays as it is
    file.write_text(json.dumps({**old, **settings}), encoding="utf-8")


def olive_workflow(model: Path, data: Path, steps: int) -> dict[str, Any]:
    """Return the tutorial's flow as Olive 0.13 takes it."""
    return {
        "input_model": {"type": "HfModel", "model_path": str(model)},
        "data_configs": [
            {
                "name": "train",
                "type": "HuggingfaceContainer",
                "load_dataset_config": {
                    "data_name": "json",
                    "data_files": str(data),
                    "split": "train",
                },
                "pre_process_data_config": {
                    "text_template": _TEMPLATE,
                    "strategy": "join",
                    "max_seq_len": 2048,
                    "pad_to_max_len": False,
                    "use_attention_mask": False,
                },
            }
        ],
        "passes": {
            "lora": {
                "type": "LoRA",
                "target_modules": _TARGETS,
                "r": 64,
                "alpha": 64,
                "lora_dropout": 0.1,
                "torch_dtype": "float32",
                "train_data_config": "train",
                "training_args": {
                    "seed": 0,
                    "data_seed": 42,
                    "per_device_train_batch_size": 1,
                    "gradient_accumulation_steps": 4,
                    "gradient_checkpointing": False,
                    "learning_rate": 1e-4,
                    "max_steps": steps,
                    "logging_steps": 1,
                    "adam_beta2": 0.999,
                    "max_grad_norm": 0.3,
                },
            },
            "merge": {"type": "MergeAdapterWeights"},
            "builder": {"type": "ModelBuilder", "precision": "int4"},
        },
        "cache_dir": "cache",
        "output_dir": "out",
        "log_severity_level": 1,
    }


def our_configuration(model: Path, data: Path, steps: int, more: dict[str, Any]) -> dict[str, Any]:
    """Return the same as paretune takes it; its baseline is the recipe itself, run once."""
    recipe = [
        {
            "lora": {
                "train": "phrases",
                "target_modules": _TARGETS,
                "r": 64,
                "alpha": 64,
                "dropout": 0.1,
                "seed": 0,
                "data_seed": 42,
                "batch_size": 1,
                "gradient_accumulation_steps": 4,
                "learning_rate": 1e-4,
                "lr_scheduler_type": "constant",
                "max_steps": steps,
                "adam_beta2": 0.999,
                "max_grad_norm": 0.3,
                "batching": "plain",
                **more,
            }
        },
        "merge",
        {"genai": {"precision": "int4"}},
    ]
    return {
        "model": str(model),
        "data": {
            "phrases": {
                "file": str(data),
                "format": "json",
                "text": _TEMPLATE,
                "corpus": {
                    "strategy": "line-by-line" if "batching" in more else "join",
                    "max_length": 2048,
                },
            }
        },
        "passes": recipe,
        "baseline": recipe,
        "evaluate": [{"generation": {"prompt_tokens": 16, "new_tokens": 16}}],
        "objectives": {"minimize": "decode_ms_p50"},
    }


def olive_losses(output: str) -> list[float]:
    """Return the losses that the Trainer printed."""
    found = re.findall(r"\{'loss':.*?\}", output)
    return [float(ast.literal_eval(text)["loss"]) for text in found]


def main() -> None:
    """Run both, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--olive",
        type=Path,
        default=ROOT / ".peers" / "olive",
        help="environment that benchmarks/peers/olive.sh made",
    )
    parser.add_argument("--only", choices=("ours", "olive"), help="one side only")
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=list(_WAYS), help="of ours")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps; the page has 10")
    given = parser.parse_args()
    model = ROOT / ".models" / "smollm2"
    data = public_data("phrase-tone") / "dataset-classification.json"
    sides: dict[str, Ran] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.only != "olive":
            for name in given.ways:
                ours = folder / name
                ours.mkdir()
                config = our_configuration(model, data, given.steps, _WAYS[name])
                (ours / "tutorial.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
                command = [sys.executable, "-m", "paretune", "run", "tutorial.yaml"]
                sides[name] = run([*command, "--store", "store"], ours)
                (note,) = ours.glob("store/objects/*/training.json")
                record = json.loads(note.read_text())
                losses[name] = [step["loss"] for step in record["losses"]]
                if "dtype" in record:
                    print(f"{name}: trained in {record['dtype']}")
        if given.only != "ours":
            olive = folder / "olive"
            olive.mkdir()
            readable = readable_by_olive(model, olive / "model")
            flow = olive_workflow(readable, data, given.steps)
            (olive / "flow.json").write_text(json.dumps(flow))
            python = str(given.olive / "bin" / "python")
            sides["Olive 0.13.0"] = run(
                [python, "-m", "olive", "run", "--config", "flow.json"], olive, **_QUIET
            )
            losses["Olive 0.13.0"] = olive_losses(sides["Olive 0.13.0"].output)
    rows = [[name, f"{ran.seconds:.0f}", f"{ran.peak_mb:.0f}"] for name, ran in sides.items()]
    print(table(("", "wall s", "peak MB"), rows))
    print()
    print(
        table(
            ("step", *losses), list(zip(range(1, given.steps + 1), *losses.values(), strict=False))
        )
    )
    figures = {k: {"seconds": v.seconds, "peak_mb": v.peak_mb} for k, v in sides.items()}
    print(save("tutorial", {"steps": given.steps, "sides": figures, "losses": losses}))


if __name__ == "__main__":
    main()
