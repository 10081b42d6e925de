"""What `benchmarks/dropped_layers.py` tries, and how it shows it."""

from __future__ import annotations

from dropped_layers import DROPPED, recipes, shown


def test_each_number_of_layers_is_trained_in_both_ways() -> None:
    chains = recipes("demo", seeds=2)
    assert len(chains) == 2 * 2 * len(DROPPED)
    trained = [next(step["lora"] for step in chain if "lora" in step) for chain in chains]
    assert [each["seed"] for each in trained] == [0] * 10 + [1] * 10
    assert sum("quantize_for" in each for each in trained) == 10
    assert all(("drop_layers" in chain[0]) == (dropped > 0) for chain, dropped in _dropped(chains))


def _dropped(chains: list[list[object]]) -> list[tuple[list[object], int]]:
    each = [dropped for _ in range(2) for dropped in DROPPED for _ in range(2)]
    return list(zip(chains, each, strict=True))


def test_accuracies_are_compared_with_the_whole_model_and_speeds_are_relative_to_it() -> None:
    right, wrong = [1.0] * 9 + [0.0], [0.0] * 10
    samples = {"lora": {"30": {"0": right}, "15": {"0": wrong}}, "aware": {"15": {"0": right}}}
    speed = {"15": {"speed": 1.5, "speed_low": 1.25, "speed_high": 2.0}}
    whole = {"samples": samples, "packages": {"30": "x", "15": "y"}, "speed": speed}
    first, lora, aware = shown(whole).splitlines()[2:]
    assert first == "| 30 | lora | 1 | 0.900 |  |  |"
    assert lora.startswith("| 15 | lora | 1 | 0.000 | -0.900 (")
    assert lora.endswith(" | 1.50 (1.25 to 2.00) |")
    assert "| 15 | aware | 1 | 0.900 | +0.000 (+0.000 to +0.000) |" in aware
