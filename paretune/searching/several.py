"""A search on several devices: one for each, side by side, over one pool of builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.config import Plan
from paretune.config.targets import open_target
from paretune.core.errors import NothingFeasibleError, NothingFitsError, TargetLostError
from paretune.core.machines import Machines
from paretune.core.target import Target, build_slots, preload
from paretune.core.threads import Worker
from paretune.models.handle import detect_kind
from paretune.preflight.measuring_conditions import advice
from paretune.preflight.packages import used_packages
from paretune.preflight.prepared import PreparedSearch
from paretune.searching import foreign_picks
from paretune.searching.device_target import DeviceTarget
from paretune.searching.nothing_fits import why_nothing
from paretune.searching.numbers import Numbers, left_out
from paretune.searching.one import Beside, Search, SearchResult, keep_code
from paretune.searching.shown import DeviceWatcher, SharedDisplay
from paretune.store.artifacts import Store
from paretune.study.devices import LEASES, DeviceFolder, arranged, keep_devices
from paretune.study.folder import Study
from paretune.targets.device.fingerprint import boot_id
from paretune.targets.pool import BuildPool, builders_on

if TYPE_CHECKING:
    from paretune.display.live import Display

_SIGNALS_EVERY_S = 0.5
_OF_ONE = (TargetLostError, NothingFitsError, NothingFeasibleError)
"""Errors of one device: the others are searched to their end."""

SearchFactory = Callable[[PreparedSearch, Study, DeviceWatcher, Beside], Search]


def _search(
    prepared: PreparedSearch, study: Study, watcher: DeviceWatcher, beside: Beside
) -> Search:
    return Search(prepared, study, watcher, beside=beside)


@dataclass
class _Device:
    """One of the searches.

    Attributes:
        place: The device, and where its study is.
        prepared: Its plan.
        study: Its study.
        search: Its search.
        error: What ended it; None: nothing did.
    """

    place: DeviceFolder
    prepared: PreparedSearch
    study: Study
    search: Search
    error: BaseException | None = field(default=None)

    @property
    def target(self) -> DeviceTarget:
        """What it measures with."""
        target = self.prepared.target
        assert isinstance(target, DeviceTarget)
        return target

    @property
    def status(self) -> str:
        """How its search ended, as `results.json` says it."""
        return "finished" if self.error is None else "interrupted"

    def run(self, work: Callable[[], object], ends_all: Callable[[], None]) -> None:
        """Do a part of the search; in a thread of its own.

        Args:
            work: Runs the engine.
            ends_all: Called after an error that is not of this device alone.
        """
        try:
            work()
        except BaseException as error:  # raised again by whoever waits for the thread
            self.error = error
            if isinstance(error, (NothingFitsError, NothingFeasibleError)):
                error.message = f"{self.place.name}: {error.message}"
            if not isinstance(error, _OF_ONE):
                ends_all()


def search_devices(
    plan: Plan,
    place: Path,
    store: Store,
    display: Display,
    code: Path | None = None,
    *,
    search: SearchFactory = _search,
) -> SearchResult:
    """Search for the best model for each device of a plan.

    Args:
        plan: What is searched, on several devices.
        place: The study.
        store: Where artifacts are kept.
        display: Receives the events of all.
        code: Folder with the modules of functions that were given.
        search: Makes the search of one device.

    Returns:
        The main device's result, which has the packages of all.

    Raises:
        UsageError: Nothing fits on a device, it stays away, or the study is of something else.
        StateError: The study is in use or damaged.
        KeyboardInterrupt: The search was interrupted; the results so far were written.
    """
    places = arranged(place, [device.name for device in plan.devices])
    shown = SharedDisplay(display)
    with ExitStack() as stack:
        prepared = stack.enter_context(_prepared(plan, places, place, store, shown))
        studies: dict[str, Study] = {}
        for each in places:
            studies[each.name] = Study(place / each.folder)
            stack.callback(studies[each.name].close)
        keep_code(place, code)
        others = stack.enter_context(left_out(place, list(studies)))
        numbers = Numbers({**studies, **others})
        numbers.reserve(prepared[each.name].baseline for each in places)
        _count_time_once(list(studies.values()))
        devices = []
        for each in places:
            ready, watcher = prepared[each.name], DeviceWatcher(shown, each.name)
            target = ready.target
            assert isinstance(target, DeviceTarget)
            beside = Beside(numbers.of, target.choosing)
            made = search(ready, studies[each.name], watcher, beside)
            devices.append(_Device(each, ready, studies[each.name], made))
        keep_devices(place, places)
        return _run(devices, shown)


@contextmanager
def _prepared(
    plan: Plan, places: Sequence[DeviceFolder], place: Path, store: Store, shown: SharedDisplay
) -> Iterator[Mapping[str, PreparedSearch]]:
    """Yield the prepared search of each device, by name; targets are open meanwhile."""
    settings = {device.name: device for device in plan.devices}
    kind = detect_kind(plan.model)
    used = {each.name: used_packages(plan.for_device(each), kind) for each in plan.devices}
    build = frozenset(each for packages in used.values() for each in packages.build)
    with ExitStack() as stack:
        targets: dict[str, Target] = {}

        def opened(name: str) -> Target:
            if name not in targets:
                targets[name] = open_target(
                    name, plan.target.declared, store.root, plan.permissions
                )
                stack.callback(targets[name].close)
                preload(targets[name], build if name in plan.target.builders else ())
                preload(targets[name], used[name].measure if name in used else ())
            return targets[name]

        machines = Machines(place / LEASES)
        pool = BuildPool(
            [
                builder
                for name, slots in plan.target.builders.items()
                for builder in builders_on(
                    opened(name), plan.search.builds or slots or build_slots(opened(name))
                )
            ],
            machines,
        )
        stack.callback(pool.close)
        found: dict[str, PreparedSearch] = {}
        for each in places:
            own = plan.for_device(settings[each.name])
            if each.is_main:  # its configuration is that of the study
                own = _main_plan(plan, own)
            note = DeviceWatcher(shown, each.name).note
            measures = DeviceTarget(each.name, pool, opened(each.name), machines, boot_id(), note)
            stack.callback(measures.close)
            found[each.name] = PreparedSearch(own, store, measures)
        yield found


def _main_plan(plan: Plan, own: Plan) -> Plan:
    """Return the plan of the main device, which stands for all: the main one comes first in it."""
    name = own.target.measure
    uses = tuple(sorted(plan.target.uses, key=lambda use: use.name != name))
    devices = tuple(sorted(plan.devices, key=lambda device: device.name != name))
    return replace(own, target=replace(plan.target, measure=name, uses=uses), devices=devices)


def _count_time_once(studies: Sequence[Study]) -> None:
    """Have each device go on with the wall time that the whole study has used.

    One whose search ended before the others' has used less.
    """
    most = max(study.spent() for study in studies)
    for study in studies:
        if most - study.spent() > 1e-3:
            study.waste(most - study.spent())


def _run(devices: Sequence[_Device], shown: SharedDisplay) -> SearchResult:
    """Search on all devices, and write what was found.

    Raises:
        KeyboardInterrupt: The user ended it.
        ParetuneError: A device could not be searched to its end.
    """
    display = shown.display
    openings = [device.search.opening() for device in devices]
    totals = [opening.total for opening in openings if opening.total is not None]
    resumed = sum(opening.resumed for opening in openings)
    display.start(replace(openings[0], total=sum(totals), resumed=resumed))
    shown.tell(
        {
            device.place.name: [
                *(f"note: {note}" for note in device.search.notes),
                *advice(device.prepared),
            ]
            for device in devices
        }
    )

    stopped: BaseException | None = None
    try:
        _side_by_side(devices, lambda device: device.search.engine.run)
        _count_time_once([device.study for device in devices])
        _side_by_side(devices, _measures_foreign_picks(devices))
        if all(device.error is None or isinstance(device.error, _OF_ONE) for device in devices):
            _side_by_side(devices, lambda device: device.search.repeat_pick)
    except BaseException as error:
        stopped = error
    done = [device for device in devices if device.error is None and stopped is None]
    shown.tell({device.place.name: device.search.untried() for device in done})
    display.finish([])
    return _ended(devices, stopped)


def _side_by_side(
    devices: Sequence[_Device], work: Callable[[_Device], Callable[[], object] | None]
) -> None:
    """Let the devices that had no error work, each in a thread of its own.

    Args:
        devices: All of them.
        work: What a device does; None: nothing.

    Raises:
        KeyboardInterrupt: The user ended it; all have stopped.
    """

    def interrupt() -> None:
        for device in devices:
            device.target.interrupt()

    threads = [
        Worker(target=device.run, args=(does, interrupt), daemon=True)
        for device in devices
        if device.error is None and (does := work(device)) is not None
    ]
    try:
        for thread in threads:
            thread.start()
        _join(threads)
    except BaseException:
        interrupt()
        _join([thread for thread in threads if thread.ident is not None])
        raise


def _join(threads: Sequence[Worker]) -> None:
    """Wait for threads; a signal that another thread received is handled soon."""
    for thread in threads:
        while not thread.done:
            thread.join(_SIGNALS_EVERY_S)


def _measures_foreign_picks(
    devices: Sequence[_Device],
) -> Callable[[_Device], Callable[[], object] | None]:
    """Return what gives each device the picks of the others to measure."""
    ended = any(d.error is not None and not isinstance(d.error, _OF_ONE) for d in devices)
    picks = {device.place.name: foreign_picks.picked(device.search.engine) for device in devices}

    def work(device: _Device) -> Callable[[], object] | None:
        if ended:
            return None
        engine = device.search.engine
        others = [p for name, p in picks.items() if name != device.place.name and p is not None]
        wanted = foreign_picks.to_measure(engine, others)
        return (lambda: foreign_picks.measure(engine, wanted)) if wanted else None

    return work


def _ended(devices: Sequence[_Device], stopped: BaseException | None) -> SearchResult:
    """Write what each device found, the main one last, and raise what ended the search."""
    packages: dict[str, Path | None] = {}
    result: SearchResult | None = None
    first = stopped or _first_error(devices)
    for device in reversed(devices):
        try:
            result = device.search.finish("interrupted" if stopped else device.status)
        except Exception as error:  # raised again when the others' results are written
            first = first or error
        else:
            packages[device.place.name] = result.best
    if first is not None:
        raise first
    assert result is not None
    for device in devices:
        nothing = why_nothing(device.study.outcomes)
        if nothing is not None:
            nothing.message = f"{device.place.name}: {nothing.message}"
            raise nothing
    return replace(result, devices={d.place.name: packages[d.place.name] for d in devices})


def _first_error(devices: Sequence[_Device]) -> BaseException | None:
    """Return the error to report: that which ended the others, if there is one."""
    errors = [device.error for device in devices if device.error is not None]
    for error in errors:
        if not isinstance(error, (KeyboardInterrupt, *_OF_ONE)):
            return error
    return errors[0] if errors else None
