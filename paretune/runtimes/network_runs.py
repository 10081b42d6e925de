"""Runs of a network in ONNX Runtime, with its state fed back.

The class is part of the program in a package, too, as text (`onnxruntime_sample`): it uses numpy
and the standard library alone.
"""

from __future__ import annotations

from typing import Any


class NetworkRuns:
    """Runs a network; each call begins with zeros as the state.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        state: Output to the input that gets it in the next step; the first step gets zeros.
        sizes: Values of sizes that the network leaves open. Further ones of a state are as long as
            in the arrays, by their name, or as the first axis of the arrays.
        values: Input to the value that it has in each run.
    """

    def __init__(
        self,
        session: Any,
        state: dict[str, str],
        sizes: dict[str, int],
        values: dict[str, Any],
    ) -> None:
        import numpy as np

        self.session, self.state, self.sizes = session, state, sizes
        # Sequences, maps and types that numpy does not have are left out.
        absent = ("tensor(bfloat16)", "tensor(int4)", "tensor(uint4)")
        self.outputs = [
            each.name
            for each in session.get_outputs()
            if each.type.startswith("tensor(")
            and each.type not in absent
            and "float8" not in each.type
        ]
        self.shapes = {each.name: each.shape for each in session.get_inputs()}
        self.types = {each.name: each.type for each in session.get_inputs()}

        self.fixed = {
            name: np.full(
                [
                    size if isinstance(size, int) else sizes[size or f"{name}[{axis}]"]
                    for axis, size in enumerate(self.shapes[name])
                ],
                value,
                dtype=self.type_of(name),
            )
            for name, value in values.items()
        }

    def type_of(self, name: str) -> str:
        """Return the type of an input, as numpy calls it; one that numpy does not have as it is."""
        kinds = {"tensor(float)": "float32", "tensor(double)": "float64"}
        kind = str(self.types[name])
        inner = kinds.get(kind, kind[len("tensor(") : -1])
        numbers = ("bool", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
        return inner if inner.removeprefix("u") in numbers else kind

    def inputs(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Return type and shape of what `run` takes, by name, with None for an open size."""
        hidden = {*self.state.values(), *self.fixed}
        return {
            name: (
                self.type_of(name),
                tuple(
                    size if isinstance(size, int) else self.sizes.get(size or f"{name}[{axis}]")
                    for axis, size in enumerate(shape)
                ),
            )
            for name, shape in self.shapes.items()
            if name not in hidden
        }

    def run(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs that are arrays and not state, by name.

        Args:
            arrays: An array for each input that is not state and has no fixed value. With state, an
                array with one axis more than the input is a sequence: axis 1 counts its steps, and
                so it does in the outputs.
        """
        arrays = {**arrays, **self.fixed}
        if not self.state:
            return dict(zip(self.outputs, self.session.run(self.outputs, arrays)))  # noqa: B905
        import numpy as np

        ranks = {name: len(self.shapes[name]) for name in arrays if name in self.shapes}
        sequences = {name for name, rank in ranks.items() if 0 < rank == np.ndim(arrays[name]) - 1}
        lengths = {np.shape(arrays[name])[1] for name in sequences}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError(f"sequences of one length above 0 were expected, found {lengths}")
        found: list[dict[str, Any]] = []
        held: dict[str, Any] = {}
        for at in range(max(lengths, default=1)):
            given = {n: a[:, at] if n in sequences else a for n, a in arrays.items()}
            results = self.session.run(self.outputs, given | (held or self.zeros(given)))
            values = dict(zip(self.outputs, results))  # noqa: B905
            held = {target: values.pop(output) for output, target in self.state.items()}
            found.append(values)
        if not sequences:
            return found[0]
        return {
            name: np.stack([each[name] for each in found], axis=min(1, np.ndim(first)))
            for name, first in found[0].items()
        }

    def zeros(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first of the steps that run on these arrays."""
        import numpy as np

        known: dict[str | None, int] = {}
        for name, array in arrays.items():
            for axis, (size, length) in enumerate(zip(self.shapes.get(name, ()), np.shape(array))):  # noqa: B905
                if axis == 0:
                    known.setdefault(None, length)
                if isinstance(size, str):
                    known[size] = length
        found = {}
        for name in self.state.values():
            shape = list(self.shapes[name])
            for axis, size in enumerate(shape):
                if not isinstance(size, int):
                    usual = known.get(size, known.get(None, 1))
                    shape[axis] = self.sizes.get(size or f"{name}[{axis}]", usual)
            found[name] = np.zeros(shape, dtype=self.type_of(name))
        return found
