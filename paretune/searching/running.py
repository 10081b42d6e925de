"""Searches a plan in its study: on one device and with one builder, or on several."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.config import Plan
from paretune.core.user_paths import default_store, refuse_model_folder, user_path
from paretune.preflight.measuring_conditions import advice
from paretune.preflight.prepared import PreparedSearch
from paretune.searching.nothing_fits import why_nothing
from paretune.searching.numbers import Numbers, left_out
from paretune.searching.one import Beside, Search, SearchResult, keep_code
from paretune.searching.several import search_devices
from paretune.store.artifacts import Store
from paretune.study.devices import arranged, read_devices
from paretune.study.folder import Study

if TYPE_CHECKING:
    from paretune.display.live import Display


def search_plan(
    plan: Plan,
    study: Path | str | None,
    store: Path | str | None,
    display: Display,
    code: Path | None,
) -> SearchResult:
    """Search a plan in its study.

    Args:
        plan: What is searched.
        study: Folder of the study; None: the plan's, else the default.
        store: Folder of the store; None: the plan's, else the user's.
        display: Receives the events.
        code: Folder with the modules of functions that were given; they are kept in the study.

    Raises:
        UsageError: Nothing in the space fits this machine, or the study is of something else.
        StateError: The study is in use or damaged.
        KeyboardInterrupt: The search was interrupted; the results so far were written.
    """
    place = user_path(study or plan.study or Path("studies") / plan.name)
    root = user_path(store or plan.store or default_store())
    refuse_model_folder(plan.model, place, root)
    if len(plan.devices) > 1 or len(plan.target.builders) > 1:
        return search_devices(plan, place, Store(root), display, code)
    several = bool(read_devices(place))  # the others are left out this time
    if several:
        arranged(place, [plan.target.measure])
    prepared = PreparedSearch(plan, Store(root))
    with ExitStack() as stack:
        stack.callback(prepared.target.close)
        opened = Study(place)
        stack.callback(opened.close)
        keep_code(place, code)
        beside: Beside | None = None
        if several:
            others = stack.enter_context(left_out(place, [plan.target.measure]))
            beside = Beside(Numbers({plan.target.measure: opened, **others}).of)
        search = Search(prepared, opened, display, beside=beside)
        display.start(search.opening())
        for line in (*(f"note: {note}" for note in search.notes), *advice(prepared)):
            display.note(line)
        status = "interrupted"
        try:
            search.engine.run()
            search.repeat_pick()
            status = "finished"
            for line in search.untried():
                display.note(line)
        finally:
            display.finish([])
            result = search.finish(status)
        nothing = why_nothing(opened.outcomes)
        if nothing is not None:
            raise nothing
        return result
