"""fp32 products through oneDNN: the same numbers, all else as before, and undone at the end."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.runtimes.matrix_products import one_dnn_gain, quickest_products

pytestmark = pytest.mark.filterwarnings("error")


def _always() -> float:
    return 2.0


def _routed(work: Any) -> bool:
    """Return whether some work reaches oneDNN's product."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    return any("mkldnn::_linear_pointwise" in event.key for event in seen.key_averages())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(40, 24), (2, 17, 24), (3, 24)])
def test_linear_layers_and_their_gradients_are_the_same(bias: bool, shape: tuple[int, ...]) -> None:
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 33, bias=bias)
    inputs = torch.randn(shape, requires_grad=True)

    def step() -> list[Any]:
        out = layer(inputs)
        return [out, *torch.autograd.grad(out.square().sum(), [inputs, *layer.parameters()])]

    own = step()
    with quickest_products(_always) as routed:
        assert routed
        for one, other in zip(own, step(), strict=True):
            torch.testing.assert_close(one, other)


def test_what_it_is_not_for_is_as_before() -> None:
    import torch

    torch.manual_seed(0)
    wide, tall = torch.randn(20, 30), torch.randn(30, 20)

    def work() -> list[Any]:
        return [
            wide.double() @ tall.double(),
            wide.bfloat16() @ tall.bfloat16(),
            wide[:2] @ tall,
            torch.zeros(20, 0) @ torch.zeros(0, 20),
            torch.zeros(0, 30) @ tall,
            torch.addmm(torch.ones(20, 20), wide, tall, beta=0.5, alpha=2),
            torch.addmm(torch.ones(20).double(), wide.double(), tall.double()),
        ]

    own = work()
    with quickest_products(_always):
        for one, other in zip(own, work(), strict=True):
            torch.testing.assert_close(one, other)
            assert one.dtype is other.dtype


def test_only_while_it_lasts_and_only_where_it_is_quicker() -> None:
    import torch

    square = torch.randn(64, 64)
    with quickest_products(_always):
        assert _routed(lambda: square @ square)
    assert not _routed(lambda: square @ square)
    with quickest_products(lambda: 1.1) as routed:
        assert not routed
        assert not _routed(lambda: square @ square)


def test_the_gain_is_a_ratio_of_times() -> None:
    assert 0.05 < one_dnn_gain() < 50
