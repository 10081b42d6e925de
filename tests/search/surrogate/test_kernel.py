"""The covariance over chains of passes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.search.surrogate.kernel import ChainKernel, prior
from paretune.search.surrogate.layout import ABSENT

ORDERED, STAGES = (True, False, False, True), (0, 0, 1, 2)
CODES = st.lists(
    st.tuples(
        st.sampled_from([ABSENT, 0.0, 0.3, 1.0]),
        st.sampled_from([ABSENT, 0.0, 1.0, 2.0]),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=2,
    max_size=8,
)


def kernel() -> ChainKernel:
    return ChainKernel(ORDERED, STAGES, [0.5, 1.0, 2.0, 0.7], 0.4, [0.3, 0.2, 0.6], 0.25)


@given(CODES)
@settings(max_examples=30)
def test_it_is_a_covariance(rows: list[tuple[float, ...]]) -> None:
    codes = np.array(rows)
    found = kernel()(codes)
    assert isinstance(found, np.ndarray)
    assert np.allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert np.allclose(np.diag(found), kernel().diag(codes))


@given(CODES)
@settings(max_examples=10)
def test_its_gradient_is_that_of_its_values(rows: list[tuple[float, ...]]) -> None:
    codes, step = np.array(rows), 1e-5
    one = kernel()
    _, gradient = one(codes, eval_gradient=True)
    theta = one.theta
    assert len(theta) == gradient.shape[-1] == len(prior(one)[0])
    for place in range(len(theta)):
        off = step * np.eye(len(theta))[place]
        above = one.clone_with_theta(theta + off)(codes)
        below = one.clone_with_theta(theta - off)(codes)
        assert np.allclose((above - below) / (2 * step), gradient[..., place], atol=1e-6)


def test_near_numbers_are_more_alike_than_far_ones_and_labels_are_not_ordered() -> None:
    base = [0.0, 0.0, 0.0, 0.0]
    near, far = [0.2, *base[1:]], [1.0, *base[1:]]
    label, other = [0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]
    found = kernel()(np.array([base]), np.array([near, far, label, other]))
    assert isinstance(found, np.ndarray)
    assert found[0, 0] > found[0, 1]
    assert found[0, 2] == pytest.approx(found[0, 3])
