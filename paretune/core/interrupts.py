"""How a signal ends the command: at once where nothing is at stake, else by unwinding.

SIGINT, SIGTERM and SIGHUP all mean the same: the command ends with 130 and one line. What that
takes depends on when it comes:

- Before anything has been started or opened the process ends at once. Python's own way, an
  exception in the middle of an import, shows a traceback, and some libraries swallow it.
- Later an exception unwinds: jobs are ended, what was found is written. An import is let through
  first: one that is broken off leaves half a module, which the unwinding may need.
- While it unwinds, a second signal (not the bounce of the first) breaks off what is being written,
  a third ends the process at once. Nothing is lost by either: outcomes are durable already.

A signal that was ignored when the process began (``nohup``) stays ignored. This module is imported
before everything else of ours, so it imports what the interpreter has built in.
"""

# No `signal`, `typing` or `__future__` here: each takes milliseconds in which a signal would end
# the process with a traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import LogRecord
    from types import FrameType

INTERRUPTED = 130
"""Exit status of a command that was interrupted."""

_SIGNALS = tuple(
    getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)
)
_ALARM = getattr(_signal, "SIGALRM", None)
_AGAIN_S = 0.05
_BOUNCE_S = 0.5
"""Signals so soon after the first are the same one: sent to the group and by a wrapper, say."""
_IMPORTING = "<frozen importlib._bootstrap>"
_SHOW_CURSOR = b"\x1b[?25h"


class _State:
    """Of this process: it has one set of signal handlers.

    Attributes:
        installed: Whether the handlers are ours.
        stakes: Whether something was started or opened that has to be ended or written.
        came: When the first signal came, on the monotonic clock.
        raised: How often an exception was raised.
        deferred: Whether a signal waits for the end of an import.
        resumable: Whether the same command again goes on.
    """

    installed = False
    stakes = False
    came: "float | None" = None
    raised = 0
    deferred = False
    resumable = False


def install() -> None:
    """Handle the signals, except those that the parent process has turned off."""
    if _State.installed:
        return
    try:
        for number in _SIGNALS:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _on_signal)
        if _ALARM is not None:
            _signal.signal(_ALARM, _on_signal)
    except ValueError:  # not in the main thread: signals are another's to handle
        return
    _State.installed = True
    sys.unraisablehook = _unraisable


def leave_working_folder() -> None:
    """Take the working folder out of where modules are looked for, as `python -P -m` does.

    A `numpy.py` that lies there is another program's. The folder stays, behind everything that is
    installed, where paretune itself is run from its checkout, and where code that a configuration
    names may run: a metric's module may lie there.
    """
    if sys.argv[:1] != ["-m"] or sys.flags.safe_path or not sys.path:
        return
    folder = sys.path.pop(0)
    ours = os.path.isfile(os.path.join(folder, "paretune", "interrupts.py"))
    if ours or "--trust-remote-code" in sys.argv:
        sys.path.append(folder)


def at_stake() -> None:
    """Have signals unwind from now on: jobs run, or files are being written."""
    _State.stakes = True


def resumable() -> None:
    """Have the line say that the same command goes on: this one searches."""
    _State.resumable = True


def came() -> bool:
    """Return whether a signal has come: what was raised since then is its consequence."""
    return _State.came is not None


def finish() -> None:
    """Let nothing interrupt the process any more: its work is done, and its status known."""
    if not _State.installed:
        return
    for number in _SIGNALS:
        _signal.signal(number, _signal.SIG_IGN)
    if _ALARM is not None:
        _signal.signal(_ALARM, _signal.SIG_IGN)
    if came():
        _kill_descendants()


def line() -> str:
    """Return the one line that an interrupted command ends with."""
    return "interrupted" + ("; the same command again goes on from here" * _State.resumable)


def _on_signal(number: int, frame: "FrameType | None") -> None:
    now = time.monotonic()
    first = _State.came is None
    if first:
        _State.came = now
    if not _State.stakes:
        _end_at_once()
    again = number == _ALARM
    if not first and not again and not _State.deferred:
        bounced = now - (_State.came or now) < _BOUNCE_S
        if bounced:
            return
        if _State.raised > 1:
            _end_at_once()
    if _imports(frame) and _ALARM is not None:
        _State.deferred = True
        _signal.setitimer(_signal.ITIMER_REAL, _AGAIN_S)
        return
    if again and not _State.deferred:
        return
    _State.deferred = False
    _State.raised += 1
    _keep_out_of_logs()
    raise KeyboardInterrupt


def _imports(frame: "FrameType | None") -> bool:
    """Return whether a module is being imported where the signal came."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _keep_out_of_logs() -> None:
    """Have no library log the interrupt as an error of its own, before it raises it again.

    SQLAlchemy's pool does so: a traceback would stand above the one line.
    """
    logging = sys.modules.get("logging")
    if logging is None:
        return
    loggers = (logging.root, *list(logging.root.manager.loggerDict.values()))
    handlers = [one for each in loggers for one in getattr(each, "handlers", ())]
    for handler in (*handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(_logs_something_else)


def _logs_something_else(record: "LogRecord") -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, KeyboardInterrupt)


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Raise an interrupt again that came where nothing can be raised: in a destructor, say."""
    kind = unraisable.exc_type
    if came() and kind is not None and issubclass(kind, KeyboardInterrupt):
        if _ALARM is not None:
            _State.deferred = True
            _signal.setitimer(_signal.ITIMER_REAL, _AGAIN_S)
        return
    sys.__unraisablehook__(unraisable)


def _end_at_once() -> None:
    for number in _SIGNALS:
        _signal.signal(number, _signal.SIG_IGN)
    try:  # noqa: SIM105 - contextlib is not imported yet
        sys.stdout.flush()
    except Exception:
        # Nobody reads it, it is closed, or the signal came in the middle of a write to it.
        pass
    try:
        if _State.stakes and os.isatty(1):  # a live display has hidden it
            os.write(1, _SHOW_CURSOR)
        os.write(2, line().encode() + b"\n")
    except OSError:  # nobody to tell
        pass
    _kill_descendants()
    os._exit(INTERRUPTED)


def _kill_descendants() -> None:
    """Kill what this process has started: what cannot end by itself would stay behind."""
    psutil = sys.modules.get("psutil")
    if psutil is None:  # nothing of ours starts a process without it
        return
    try:
        for process in psutil.Process().children(recursive=True):
            try:
                process.kill()
            except psutil.Error:
                continue
    except Exception:
        # On the way out, perhaps in the middle of anything: there is nobody to tell.
        return
