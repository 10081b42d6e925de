"""Builds that are right and builds that are broken, on both sides of the bounds of `fidelity`.

    python benchmarks/fidelity.py [--models stories260k,smollm2] [--write]

Every build is made by the real pass, and held against its source by the code that the worker runs.
What is broken is made as it happens: the builder is given a model without the RoPE scaling, an
adapter of another scale, weights or a tokenizer of another model. ``--write`` writes
``benchmarks/data/fidelity.json``. Models: ``../shared/data/stories260k`` and ``.models/smollm2``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import PACKAGES, ROOT, public_data, table

from paretune.core.distributions import package_version
from paretune.core.fidelity import BOUNDS, Fidelity, Verdict
from paretune.core.model import Model, ModelKind
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.passes.genai.genai import Genai
from paretune.registry import find_pass
from paretune.targets.worker.compared import Origin, compare
from paretune.targets.worker.compared_cache import ComparedCache

OUT = ROOT / "benchmarks" / "data" / "fidelity.json"
INT4 = {"precision": "int4"}
GENAI: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8": {"precision": "int8"},
    "int8, asymmetric, block 128": {"precision": "int8", "is_symmetric": False, "block_size": 128},
    "int4, block 16": {**INT4, "block_size": 16},
    "int4, block 32": INT4,
    "int4, block 128": {**INT4, "block_size": 128},
    "int4, block 256": {**INT4, "block_size": 256},
    "int4, rtn": {**INT4, "algorithm": "rtn"},
    "int4, rtn_last": {**INT4, "algorithm": "rtn_last"},
    "int4, k_quant": {**INT4, "algorithm": "k_quant"},
    "int4, k_quant_mixed": {**INT4, "algorithm": "k_quant_mixed"},
    "int4, mixed layers": {**INT4, "matmul_mixed_precision": "mixed_layers:int8"},
}
NBITS: dict[str, dict[str, Any]] = {
    "matmul_nbits 4": {"bits": 4},
    "matmul_nbits 4, asymmetric": {"bits": 4, "is_symmetric": False},
    "matmul_nbits 4, block 256": {"bits": 4, "block_size": 256},
    "matmul_nbits 4, some at 8": {
        "bits": 4,
        "keep_8bit": ["*/down_proj/MatMul", "/lm_head/MatMul"],
    },
    "matmul_nbits 8": {"bits": 8},
    "matmul_nbits 4, rtn": {"bits": 4, "algorithm": "rtn"},
    "matmul_nbits 4, k_quant": {"bits": 4, "algorithm": "k_quant"},
    "matmul_nbits 4, hqq": {"bits": 4, "algorithm": "hqq"},
}
AFTER_TRAINING = ("fp32", "int8", "int4, block 32", "int4, block 128")
BROKEN_AT = ("fp32", "int8", "int4, block 32", "int4, block 128")


def ropes(original: int) -> dict[str, dict[str, Any]]:
    """Return scalings that the builder's Llama leaves out, from strong to hardly anything."""
    return {
        "linear, 4": {"rope_type": "linear", "factor": 4.0},
        "linear, 2": {"rope_type": "linear", "factor": 2.0},
        "yarn, 4": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": original,
        },
        "yarn, 2": {
            "rope_type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": original,
        },
    }


@dataclass
class Bench:
    """Builds and compares in one folder."""

    root: Path
    model: str
    rows: list[dict[str, Any]]
    count: int = 0

    def folder(self) -> Path:
        """Return a new empty folder."""
        self.count += 1
        made = self.root / f"{self.count:03}"
        made.mkdir()
        return made

    def build(self, name: str, params: dict[str, Any], source: Model) -> Path:
        """Run a pass."""
        pass_ = find_pass(name)
        out, scratch = self.folder(), self.folder()
        context = Context(out=out, scratch=scratch, data=None)  # type: ignore[arg-type]
        pass_.run(source, pass_.Params(**params), context)
        shutil.rmtree(scratch)
        return out

    def hold(
        self,
        what: str,
        pass_: Any,
        params: dict[str, Any],
        made: Path,
        source: Model,
        *,
        kind: ModelKind = ModelKind.GENAI,
        right: bool,
    ) -> Verdict:
        """Compare a build with its source, and note what came out."""
        scratch = self.folder()
        context = Context(out=scratch, scratch=scratch, data=None)  # type: ignore[arg-type]
        origin = Origin(source, source, "its source")
        cache = ComparedCache(self.root / "compared")
        start = time.perf_counter()
        given = pass_.Params(**params)
        verdict = compare(pass_, given, Model(kind, made, ""), origin, context, cache)
        seconds = time.perf_counter() - start
        shutil.rmtree(scratch)
        figures: dict[str, Any] = dict(verdict.compared or {})
        sketch = (verdict.beside or {}).get("sketch")
        self.rows.append(
            {
                "model": self.model,
                "build": what,
                "right": right,
                "valid": verdict.valid,
                "fidelity": figures["fidelity"],
                "kl_per_token": figures["kl"],
                "top1_agreement": figures["top1"],
                "information": figures["information"],
                "ratio": figures["kl"] / figures["information"],
                "bound": figures["bound"],
                "sketch_ratio": sketch["kl"] / sketch["information"]
                if isinstance(sketch, dict)
                else None,
                "seconds": round(seconds, 2),
            }
        )
        row = self.rows[-1]
        print(
            f"{self.model:12} {what:44} {'right' if right else 'BROKEN':7} "
            f"{'valid' if verdict.valid else 'invalid':8} {row['ratio']:.2e} "
            f"{row['top1_agreement']:.3f} {row['sketch_ratio']} {seconds:.1f} s",
            flush=True,
        )
        return verdict


class Ignores(Genai):
    """The builder as it is where nobody checks before: it leaves the scaling out."""

    def __init__(self, plain: Model) -> None:
        self._plain = plain

    def sketch(self, model: Model, params: Any, context: Context) -> Any:
        """Return the small model as it is, and what is built of the one without the scaling."""
        other = context.scratch / "plain"
        other.mkdir()
        small = super().sketch(model, params, context)
        if small is None:
            return None
        plain = super().sketch(
            self._plain,
            params.model_copy(update={"precision": "int8"}),
            Context(out=other, scratch=other, data=context.data),
        )
        return small[0], plain[1]  # type: ignore[index]


def variant(bench: Bench, source: Path, rope: dict[str, Any] | None) -> Model:
    """Return a copy of a model with other RoPE settings."""
    out = bench.folder() / "model"
    shutil.copytree(source, out, copy_function=shutil.copyfile)
    file = out / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if rope is not None:
        theta = (config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
        config["rope_parameters"] = {"rope_theta": min(theta, 1e5), **rope}
    file.write_text(json.dumps(config), encoding="utf-8")
    return open_model(out)


def adapter(bench: Bench, base: Model, scale: float = 1.0) -> Model:
    """Return an adapter as large as a trained one's: its effect on logits can be seen."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    out = bench.folder()
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=8, target_modules="all-linear"),
    )
    draw = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=draw) * 0.02
    network.save_pretrained(out)
    file = out / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "lora_alpha": 8 * scale}), encoding="utf-8")
    from paretune.models.handle import folder_digest

    return Model(ModelKind.HF_ADAPTER, out, folder_digest(out), base)


def right_builds(bench: Bench, source: Model) -> None:
    """Everything that our passes make of a model."""
    fp32 = None
    for name, params in GENAI.items():
        out = bench.build("genai", params, source)
        bench.hold(name, find_pass("genai"), params, out, source, right=True)
        if fp32 is None:
            fp32 = out
        else:
            shutil.rmtree(out)
    assert fp32 is not None
    parent = Model(ModelKind.GENAI, fp32, f"sha256:{bench.model}-fp32")
    for name, params in NBITS.items():
        out = bench.build("matmul_nbits", params, parent)
        bench.hold(name, find_pass("matmul_nbits"), params, out, parent, right=True)
        shutil.rmtree(out)
    llama3 = variant(
        bench,
        source.path,
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    )
    for name in ("fp32", "int4, block 32"):
        out = bench.build("genai", GENAI[name], llama3)
        bench.hold(f"llama3 RoPE; {name}", find_pass("genai"), GENAI[name], out, llama3, right=True)
        shutil.rmtree(out)


def stand_ins(bench: Bench, source: Model) -> None:
    """What fp16 and bf16 cost, in PyTorch: no provider of this machine runs such builds."""
    import torch
    from transformers import AutoModelForCausalLM

    from paretune.runtimes.next_tokens import divergence, sequences, text_ids

    network = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    texts = sequences(text_ids(source, trust_remote_code=False), network.config.vocab_size, 0)

    def run() -> list[Any]:
        with torch.inference_mode():
            return [network(torch.tensor([t])).logits[0].float().numpy() for t in texts]

    before = run()
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        network.to(dtype)
        found = divergence(before, run())
        bound = BOUNDS[Fidelity(name)]
        bench.rows.append(
            {
                "model": bench.model,
                "build": f"{name} in PyTorch (stand-in)",
                "right": True,
                "valid": found.ratio <= bound,
                "fidelity": name,
                "kl_per_token": found.kl,
                "top1_agreement": found.top1,
                "information": found.information,
                "ratio": found.ratio,
                "bound": bound,
                "sketch_ratio": None,
                "seconds": None,
            }
        )
        print(bench.rows[-1], flush=True)


def merges(bench: Bench, source: Model) -> None:
    """Right and wrong merges, and what is built of a right one."""
    merge, genai = find_pass("merge"), find_pass("genai")
    wanted = adapter(bench, source)
    merged = bench.build("merge", {}, wanted)
    bench.hold("merge", merge, {}, merged, wanted, kind=ModelKind.HF, right=True)
    after = open_model(merged)
    for name in AFTER_TRAINING:
        out = bench.build("genai", GENAI[name], after)
        bench.hold(f"merged; {name}", genai, GENAI[name], out, after, right=True)
        shutil.rmtree(out)
    for name in ("fp32", "int4, block 32"):
        apart = find_pass("genai_adapter")
        out = bench.build("genai_adapter", GENAI[name], wanted)
        bench.hold(f"adapter apart; {name}", apart, GENAI[name], out, wanted, right=True)
        shutil.rmtree(out)
    for scale in (1.1, 2.0, 0.0):
        wrong = bench.build("merge", {}, adapter(bench, source, scale))
        bench.hold(
            f"merge with {scale:g} times the scale",
            merge,
            {},
            wrong,
            wanted,
            kind=ModelKind.HF,
            right=False,
        )
    into_head = bench.folder() / "merged"
    shutil.copytree(merged, into_head)
    _into_the_tied_head(into_head)
    bench.hold(
        "merge that changes the shared embedding",
        merge,
        {},
        into_head,
        wanted,
        kind=ModelKind.HF,
        right=False,
    )


def _into_the_tied_head(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if "embed_tokens" in n)
    rows, columns = weights[name].shape
    draw = torch.Generator().manual_seed(1)
    a, b = torch.randn(rows, 8, generator=draw), torch.randn(8, columns, generator=draw)
    weights[name] += 0.02 * weights[name].std() * (a @ b)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def broken_builds(bench: Bench, source: Model, original: int) -> None:
    """What a builder makes that leaves the RoPE scaling out."""
    for rope_name, rope in ropes(original).items():
        scaled = variant(bench, source.path, rope)
        plain = variant(bench, source.path, {"rope_type": "default"})
        for name in BROKEN_AT:
            out = bench.build("genai", GENAI[name], plain)
            bench.hold(
                f"without its RoPE scaling ({rope_name}); {name}",
                Ignores(plain),
                GENAI[name],
                out,
                scaled,
                right=False,
            )
            shutil.rmtree(out)


def strangers(bench: Bench, source: Model) -> None:
    """Builds of other weights, and with another tokenizer."""
    for what, change in (
        ("untrained weights", _untrained),
        ("layers in another order", _turned),
        ("another model's tokenizer", _other_tokenizer),
    ):
        out = bench.folder() / "model"
        shutil.copytree(source.path, out, copy_function=shutil.copyfile)
        change(out)
        other = open_model(out)
        for name in BROKEN_AT:
            built = bench.build("genai", GENAI[name], other)
            bench.hold(
                f"{what}; {name}", find_pass("genai"), GENAI[name], built, source, right=False
            )
            shutil.rmtree(built)


def _untrained(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    draw = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(w.shape, generator=draw) * w.std() if w.dim() == 2 else w
        for name, w in weights.items()
    }
    save_file(drawn, folder / "model.safetensors", metadata={"format": "pt"})


def _turned(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    numbers = sorted(
        {int(n.split(".layers.")[1].split(".")[0]) for n in weights if ".layers." in n}
    )
    swap = {numbers[1]: numbers[-1], numbers[-1]: numbers[1]}

    def renamed(name: str) -> str:
        if ".layers." not in name:
            return name
        head, rest = name.split(".layers.")
        number, tail = rest.split(".", 1)
        return f"{head}.layers.{swap.get(int(number), int(number))}.{tail}"

    turned = {renamed(name): w for name, w in weights.items()}
    save_file(turned, folder / "model.safetensors", metadata={"format": "pt"})


def _other_tokenizer(folder: Path) -> None:
    """Cut the merges in half: the text falls into other tokens of the same vocabulary."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    merges = content["model"]["merges"]
    content["model"]["merges"] = merges[: len(merges) // 4]
    file.write_text(json.dumps(content), encoding="utf-8")


def sources(names: list[str]) -> Iterator[tuple[str, Path, int]]:
    """Yield the models that are here, each with an original context for its scaled variants."""
    if "stories260k" in names:
        yield "stories260k", public_data("stories260k"), 128
    smollm2 = ROOT / ".models" / "smollm2"
    if "smollm2" in names and (smollm2 / "config.json").is_file():
        yield "smollm2", smollm2, 2048


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the table of the most extreme build of each kind."""
    shown = []
    for kind in ("fp32", "fp16", "bf16", "quantized"):
        for right in (True, False):
            found = [r for r in rows if r["fidelity"] == kind and r["right"] is right]
            if not found:
                continue
            edge = (max if right else min)(found, key=lambda r: r["ratio"])
            sketches = [r["sketch_ratio"] for r in found if r["sketch_ratio"] is not None]
            shown.append(
                [
                    kind,
                    "right" if right else "broken",
                    len(found),
                    sum(r["valid"] is right for r in found),
                    f"{edge['ratio']:.2g} ({edge['model']}: {edge['build']})",
                    f"{(max if right else min)(sketches):.2g}" if sketches else "",
                    f"{edge['bound']:g}",
                ]
            )
    head = (
        "build",
        "",
        "builds",
        "told so",
        "ratio nearest to the bound",
        "sketch's, nearest to 1e-6",
        "bound",
    )
    return table(head, shown)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="stories260k,smollm2")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, folder, original in sources(given.models.split(",")):
        with tempfile.TemporaryDirectory(prefix="fidelity-") as root:
            bench = Bench(Path(root), name, rows)
            source = variant(bench, folder, None)
            right_builds(bench, source)
            stand_ins(bench, source)
            merges(bench, source)
            broken_builds(bench, source, original)
            strangers(bench, source)
    print(summary(rows))
    wrong = [row for row in rows if row["valid"] is not row["right"]]
    for row in wrong:
        print("WRONG SIDE:", row)
    if given.write:
        OUT.parent.mkdir(exist_ok=True)
        versions = {package: package_version(package) for package in PACKAGES}
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        head = json.dumps(versions)
        OUT.write_text(f'{{"versions": {head},\n "rows": [\n  {lines}\n ]}}\n', encoding="utf-8")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
