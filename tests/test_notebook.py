"""examples/notebook.ipynb runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.tiny_models import make_tiny_llama

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def texts(cell: Any) -> str:
    return "".join(
        out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs
    )


# Of its kernel's client: it asks for an event loop where there is none yet.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::ResourceWarning")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny_llama(tmp_path / "model")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].metadata["tags"] == ["parameters"]
    cells[0].source = "\n".join(
        [
            f"MODEL = {str(model)!r}",
            f"DATA = {str(ROOT / 'examples' / 'data' / 'tone.jsonl')!r}",
            f"STUDY = {str(tmp_path / 'study')!r}",
            f"STORE = {str(tmp_path / 'store')!r}",
            'PASSES = [{"genai": {"precision": ["fp32", "int4"]}}]',
        ]
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT)]))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "at most 2 candidates" in texts(cells[2])  # it is not silent
    assert str(tmp_path / "study" / "best") in texts(cells[2])
    rows = texts(cells[3]).split("\n")
    assert [row.split()[1] for row in rows if row] == ["ok", "ok"]
    assert "'precision': 'int4'" in texts(cells[4])
    assert (tmp_path / "study" / "code" / "given_first_token_probability.py").is_file()
