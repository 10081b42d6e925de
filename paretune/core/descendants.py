"""A process's descendants as the kernel lists them: without reading all other processes."""

from __future__ import annotations

from pathlib import Path


def descendants(pid: int) -> list[int] | None:
    """Return the numbers of a process's children, their children, and so on.

    One that ends meanwhile may be there or not, and the next of its parent may be missed: this is
    for counting, not for ending processes.

    Args:
        pid: The process.

    Returns:
        None where the kernel does not list them.
    """
    tasks = Path(f"/proc/{pid}/task")
    try:
        threads = list(tasks.iterdir())
    except OSError:  # it is gone, or there is no /proc
        return None
    children: list[int] = []
    for thread in threads:
        try:
            children += map(int, (thread / "children").read_text(encoding="ascii").split())
        except FileNotFoundError:
            if thread.is_dir():  # a kernel without CONFIG_PROC_CHILDREN
                return None
        except OSError:
            continue
    found = list(children)
    for child in children:
        found += descendants(child) or ()
    return found
