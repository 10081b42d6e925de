"""Times products with rounded matrices as ONNX Runtime computes them; for workers only.

Decoding reads each matrix once per token, from memory. Therefore a timed network has so many
matrices of one shape that no cache holds them, and computes one product with each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from paretune.core.kernel_times import Product, read_kernel_times, write_kernel_times

_BYTES = 96_000_000
"""Of the matrices of a timed network: several times the cache of a core of most processors."""
_MAX_COPIES = 512
_ROUNDS = 15


def product_times(products: Iterable[Product], file: Path | None) -> dict[Product, float]:
    """Return the seconds of each product, those measured that were not measured before.

    Args:
        products: What is computed.
        file: Where this device's times are kept (`kernel_times_file`); None: nowhere.
    """
    wanted = list(dict.fromkeys(products))
    if file is None:
        return measure(wanted)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # two builds that measure would disturb each other
        known = read_kernel_times(file)
        missing = [product for product in wanted if product.key not in known]
        if missing:
            known |= {product.key: seconds for product, seconds in measure(missing).items()}
            write_kernel_times(file, known)
    return {product: known[product.key] for product in wanted}


def measure(products: Iterable[Product]) -> dict[Product, float]:
    """Return the least seconds of each product over several rounds.

    Products of one shape are interleaved, so that a disturbance affects all of them.
    """
    shapes: dict[tuple[int, int], list[Product]] = {}
    for product in products:
        shapes.setdefault((product.rows, product.width), []).append(product)
    found: dict[Product, float] = {}
    for of_shape in shapes.values():
        runs = {product: _network(product) for product in of_shape}
        for run, _ in runs.values():
            run()  # the first one also sets up memory and threads
        for number in range(_ROUNDS):
            for product in of_shape[:: 1 if number % 2 == 0 else -1]:
                run, copies = runs[product]
                start = time.perf_counter()
                run()
                seconds = (time.perf_counter() - start) / copies
                found[product] = min(seconds, found.get(product, seconds))
    return found


def _network(product: Product) -> tuple[Callable[[], object], int]:
    """Return what computes products with many matrices, and with how many."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    blocks = -(-product.width // product.block_size)
    block_bytes = product.block_size * product.bits // 8
    size = product.rows * blocks * (block_bytes + 4)
    copies = max(1, min(_MAX_COPIES, _BYTES // size))
    random = np.random.default_rng(0)
    zero_points = np.full((product.rows, -(-blocks * product.bits // 8)), 0x88, dtype=np.uint8)
    nodes, tensors = [], []
    for number in range(copies):  # each with other values: equal ones would be held once
        codes = random.integers(0, 256, (product.rows, blocks, block_bytes), dtype=np.uint8)
        scales = random.uniform(0.001, 0.01, (product.rows, blocks)).astype(np.float32)
        parts: list[tuple[str, Any]] = [("codes", codes), ("scales", scales)]
        if not product.is_symmetric:
            parts.append(("zero_points", zero_points))
        names = [f"{name} {number}" for name, _ in parts]
        tensors += [numpy_helper.from_array(part, f"{name} {number}") for name, part in parts]
        nodes.append(
            helper.make_node(
                "MatMulNBits",
                ["in", *names],
                [f"out {number}"],
                domain="com.microsoft",
                K=product.width,
                N=product.rows,
                bits=product.bits,
                block_size=product.block_size,
                accuracy_level=product.accuracy_level,
            )
        )
    nodes.append(helper.make_node("Sum", [f"out {number}" for number in range(copies)], ["out"]))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, product.width])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, product.rows])],
        tensors,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = product.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"in": random.standard_normal((1, product.width)).astype(np.float32)}
    return (lambda: session.run(None, given)), copies
