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
from paretune.models.described_module import FILE
from paretune.models.torch_module import load_module
from paretune.models.torch_network import TorchNetwork, load_encoder
from paretune.runtimes.base import RUNS, Runtime, SamplePrompt
from paretune.runtimes.made_up_arrays import run_made_up, smoke_made_up
from paretune.runtimes.matrix_products import quickest_products
from paretune.runtimes.torch_arrays_sample import torch_sample


class TorchArraysRuntime(Runtime):
    """Loads and runs encoders and vision models of Hugging Face, modules and exported programs."""

    name: ClassVar[str] = "torch_arrays"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {ModelKind.HF_ENCODER, ModelKind.MODULE, ModelKind.PT2}
    )
    offers: ClassVar[frozenset[str]] = frozenset({RUNS})
    packages: ClassVar[tuple[tuple[str, ...], ...]] = (("torch",), ("transformers",))
    usage: ClassVar[str] = "`python sample.py inputs.npz` (needs `torch`, `transformers`, `numpy`)"

    def load(
        self, model: Model, settings: RuntimeSettings, trust_remote_code: bool
    ) -> TorchArraysSession:
        """Load a Hugging Face folder's weights as fp32, a module as it is."""
        network = _load(model.path, trust_remote_code)
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
        # A module comes into a search only where its code may run.
        network = _load(folder, (folder / FILE).is_file())
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
        return torch_sample()


def _load(folder: Path, trusted: bool) -> TorchNetwork:
    load = load_module if (folder / FILE).is_file() else load_encoder
    return load(folder, trusted, InvalidArtifactError)


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
        # Copies: a module may give what it writes into in the next run.
        return {name: value.cpu().numpy().copy() for name, value in found.items()}
