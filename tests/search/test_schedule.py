"""The order of a candidate's measurements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import MetricSpec, Rung
from paretune.search.jobs import EvaluatorSlot
from paretune.search.schedule import measurement_steps

ALL = (Rung.SMOKE, Rung.ROUGH, Rung.FULL)


def _slot(
    index: int, name: str, device: bool, rungs: tuple[Rung, ...], processes: int = 1
) -> EvaluatorSlot:
    return EvaluatorSlot(
        index, name, {}, (MetricSpec(name, "ms", "minimize", device),), rungs, processes
    )


ACCURACY = _slot(0, "classification", False, (Rung.ROUGH, Rung.FULL))
SPEED = _slot(1, "generation", True, (Rung.ROUGH, Rung.FULL), 3)
SIZE = _slot(2, "footprint", True, (Rung.SMOKE, Rung.FULL))


def _names(*slots: EvaluatorSlot, early_stops: bool = True) -> list[str]:
    looks = measurement_steps(slots, early_stops=early_stops)
    return [f"{look.slot.name}:{look.rung.value}:{look.process}" for look in looks]


def test_a_speeds_processes_lie_between_and_after_the_rest_of_their_rung() -> None:
    assert _names(ACCURACY, SPEED, SIZE) == [
        "footprint:smoke:0",
        "generation:rough:0",
        "classification:rough:0",
        "generation:full:0",
        "footprint:full:0",
        "generation:full:1",
        "classification:full:0",
        "generation:full:2",
    ]
    assert _names(SPEED, early_stops=False) == [f"generation:full:{i}" for i in range(3)]


@st.composite
def _slots(draw: st.DrawFn) -> list[EvaluatorSlot]:
    return [
        _slot(
            i,
            f"e{i}",
            draw(st.booleans()),
            draw(st.sampled_from([ALL, ALL[1:], ALL[2:], ALL[:1], ALL[:2]])),
            draw(st.integers(1, 5)),
        )
        for i in range(draw(st.integers(1, 5)))
    ]


@given(_slots(), st.booleans())
def test_nothing_is_left_out_or_done_before_its_time(
    slots: list[EvaluatorSlot], early_stops: bool
) -> None:
    looks = measurement_steps(slots, early_stops=early_stops)
    assert [look.rung for look in looks] == sorted((look.rung for look in looks), key=ALL.index)
    for slot in slots:
        own = [look for look in looks if look.slot == slot]
        assert [look.rung for look in own if look.process == 0] == list(
            slot.rungs if early_stops else slot.rungs[-1:]
        )
        assert [look.process for look in own if look.rung == slot.rungs[-1]] == list(
            range(slot.processes)
        )
        assert [look.final for look in own] == [False] * (len(own) - 1) + [True]
    assert all(looks.count(look) == 1 for look in looks)
