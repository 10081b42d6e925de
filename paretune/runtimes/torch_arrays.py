"""The runtime ``torch_arrays``: encoders and vision models in PyTorch, named arrays in and out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelKind
from paretune.models.tasks import TASKS
from paretune.models.torch_network import TorchNetwork, load_encoder
from paretune.runtimes.base import RUNS, Runtime, SamplePrompt
from paretune.runtimes.made_up_arrays import run_made_up, smoke_made_up
from paretune.runtimes.matrix_products import quickest_products
from paretune.runtimes.raw_row_sample import ANSWER, RAW_ROW


class TorchArraysRuntime(Runtime):
    """Loads and runs Hugging Face folders of encoders and vision models."""

    name: ClassVar[str] = "torch_arrays"
    kinds: ClassVar[frozenset[str]] = frozenset({ModelKind.HF_ENCODER})
    offers: ClassVar[frozenset[str]] = frozenset({RUNS})
    packages: ClassVar[tuple[tuple[str, ...], ...]] = (("torch",), ("transformers",))
    usage: ClassVar[str] = "`python sample.py inputs.npz` (needs `torch`, `transformers`, `numpy`)"

    def load(
        self, model: Model, settings: RuntimeSettings, trust_remote_code: bool
    ) -> TorchArraysSession:
        """Load a folder's weights as fp32."""
        network = load_encoder(model.path, trust_remote_code, InvalidArtifactError)
        return TorchArraysSession(network, settings)

    @contextmanager
    def comparing(
        self, model: Model, provider: str, trust_remote_code: bool
    ) -> Iterator[TorchArraysSession]:
        """Load a model on the candidate's GPU if PyTorch can use it, else on the processor."""
        import torch

        there = provider == "cuda" and torch.cuda.is_available()
        with (
            quickest_products(),
            super().comparing(model, "cuda" if there else "cpu", trust_remote_code) as session,
        ):
            yield session

    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        """Load a folder and run it once; returns the seconds of loading alone."""
        import torch  # noqa: F401 (the import is no part of loading)
        import transformers  # noqa: F401

        start = time.perf_counter()
        network = load_encoder(folder, False, InvalidArtifactError)
        session = TorchArraysSession(network, settings)
        load_s = time.perf_counter() - start
        run_made_up(session)
        return load_s

    def smoke(self, model: Model, session: Any) -> dict[str, Json]:
        """Run a network on made-up arrays (`smoke_made_up`)."""
        del model
        return smoke_made_up(session)

    def sample_program(self, sample: SamplePrompt) -> str:
        """Return a program that takes an ``.npz`` file; an encoder has no prompt."""
        del sample
        autos = {task.suffix: task.auto for task in TASKS}
        return _SAMPLE.format(autos=autos, raw_row=RAW_ROW, answer=ANSWER)


class TorchArraysSession:
    """A network in PyTorch, fp32.

    Args:
        network: On the processor.
        settings: Threads; the provider must be ``cpu`` or ``cuda``.

    Attributes:
        inputs: As of `paretune.runtimes.base.Runs`.
    """

    def __init__(self, network: TorchNetwork, settings: RuntimeSettings) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        self._torch, self._network = torch, network
        self._device = "cuda" if settings.provider == "cuda" else "cpu"
        network.module.to(self._device)
        self.inputs = network.inputs

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs of the network, by name.

        Raises:
            InvalidArtifactError: The network does not run on these arrays.
        """
        strange = set(inputs) ^ set(self.inputs)
        if strange:
            raise InvalidArtifactError(
                f"loads, but was given {', '.join(inputs)}: the network takes "
                f"{', '.join(self.inputs)}"
            )
        try:
            with self._torch.inference_mode():
                found = self._network.call(
                    {
                        name: self._torch.tensor(array, device=self._device)
                        for name, array in inputs.items()
                    }
                )
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise InvalidArtifactError(f"loads, but does not run: {error}") from error
        return {name: value.cpu().numpy() for name, value in found.items()}


_SAMPLE = '''\
"""Runs the model in this folder: python sample.py inputs.npz (an array for each input).

With the folder paretune_rows also on a raw row: python sample.py COLUMN=VALUE ...
"""

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

AUTO = {autos}
here = Path(__file__).resolve().parent
config = json.loads((here / "config.json").read_text(encoding="utf-8"))
architecture = config["architectures"][0]
auto = next(name for suffix, name in AUTO.items() if architecture.endswith(suffix))
model = getattr(transformers, auto).from_pretrained(
    here, local_files_only=True, dtype=torch.float32
).eval()
{raw_row}if raw is not None and "=" in "".join(sys.argv[1:2]):
    takes = inspect.signature(model.forward).parameters
    try:
        row = raw.arrays(sys.argv[1:], Path.cwd())
    except DataError as error:
        sys.exit(str(error))
    arrays, raw.count = {{}}, 1
    for name in row.keys() & takes.keys():
        arrays[name] = row[name][None].astype("float32" if row[name].dtype.kind == "f" else "int64")
elif len(sys.argv) > 1:
    with np.load(sys.argv[1], allow_pickle=False) as given:
        arrays = {{name: given[name] for name in given.files}}
elif model.main_input_name == "pixel_values":
    size = getattr(model.config, "image_size", None) or 224
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    arrays = {{"pixel_values": np.ones((1, model.config.num_channels, height, width), "float32")}}
else:
    arrays = {{"input_ids": np.ones((1, 8), "int64")}}
with torch.inference_mode():
    outputs = model(**{{name: torch.tensor(array) for name, array in arrays.items()}})
results = {{n: value.numpy() for n, value in outputs.items() if isinstance(value, torch.Tensor)}}
for name, value in results.items():
    print(f"{{name}}: shape {{list(value.shape)}}")
    print(np.array2string(value, threshold=50))
{answer}'''
