"""Times of products are measured once for each shape, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.kernel_times import Product, kernel_times_file, read_kernel_times
from paretune.runtimes import product_times as module
from paretune.runtimes.product_times import measure, product_times

SMALL = [Product(32, 64, bits, 32, True, 4, 1) for bits in (4, 8)]
ODD = Product(24, 40, 4, 16, False, 1, 1)  # a row is no whole number of blocks


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 20_000)


def test_each_product_has_a_time() -> None:
    found = measure([*SMALL, ODD])
    assert found.keys() == {*SMALL, ODD}
    assert all(0 < seconds < 1 for seconds in found.values())


def test_what_is_known_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kernel_times_file(tmp_path, "sha256:abc")
    first = product_times(SMALL, file)
    assert read_kernel_times(file) == {p.key: seconds for p, seconds in first.items()}
    asked: list[Product] = []

    def only_new(products: list[Product]) -> dict[Product, float]:
        asked.extend(products)
        return dict.fromkeys(products, 0.5)

    monkeypatch.setattr(module, "measure", only_new)
    assert product_times([*SMALL, ODD, ODD], file) == {**first, ODD: 0.5}
    assert asked == [ODD]
    assert len(read_kernel_times(file)) == 3


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 0, "seconds": {}}', '{"schema": 1}'])
def test_a_damaged_file_is_replaced(tmp_path: Path, text: str) -> None:
    file = kernel_times_file(tmp_path, "sha256:abc")
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    found = product_times(SMALL[:1], file)
    assert read_kernel_times(file) == {SMALL[0].key: found[SMALL[0]]}


def test_without_a_file_they_are_measured_only() -> None:
    assert product_times(SMALL[:1], None)[SMALL[0]] > 0
