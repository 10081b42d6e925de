"""What the ledger takes down of a key of Olive's JSON."""

from __future__ import annotations

import pytest

from paretune.config.olive.entries import Ledger, Status


@pytest.mark.parametrize("rest", [True, False])
def test_a_key_that_is_there_is_not_missing_too(rest: bool) -> None:
    """Though what is below it was spoken for piece by piece."""
    ledger = Ledger({"length": {"a": 1, "b": 2}})
    ledger.unsupported(("length", "a"), "does not know this key")
    if rest:
        ledger.unsupported(("length",), "expected a number")
    ledger.absent(("length",), None, "Olive needs it", Status.UNSUPPORTED)
    told = [(entry.path, entry.status) for entry in ledger.entries()]
    assert told == [(("length", key), Status.UNSUPPORTED) for key in ("a", "b")]


def test_what_turns_out_not_to_fit_is_told_even_if_only_parts_were_spoken_for() -> None:
    ledger = Ledger({"pass": {"a": 1}})
    ledger.translated(("pass", "a"), ("ours",))
    ledger.refuse(("pass",), "does not fit")
    assert (("pass",), Status.UNSUPPORTED) in [(e.path, e.status) for e in ledger.entries()]
