"""Few page tables to copy at a fork: this process's own memory, moved into huge pages.

A process with the runtimes imported holds some 350 MB of its own in 90,000 small pages, and a fork
copies an entry for each. As huge pages they are 170 entries. A child that writes to one gets a
copy of the small page that it writes to, as ever. Only memory that is in use now is moved: what a
child allocates later lies where it always did, so that nothing that it times changes.
"""

from __future__ import annotations

import ctypes
import errno
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_COLLAPSE = 25  # Linux 6.1 and later
_SIZE_FILE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
# Private memory that may be written, of no file (inode 0): "[heap]", "[anon: ...]", or no name.
_OWN = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0\s*(\[heap\]|\[anon.*|)")


def use_huge_pages() -> int:
    """Move this process's memory into huge pages, as far as the system can.

    Returns:
        How many there are; 0 where the system cannot or has too little memory in one piece.
    """
    try:
        size = int(_SIZE_FILE.read_text(encoding="ascii"))
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        advise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, ValueError, AttributeError):
        return 0
    moved = 0
    for place in _places(maps, size):
        if advise(ctypes.c_void_p(place), ctypes.c_size_t(size), _MADV_COLLAPSE) == 0:
            moved += 1
        # EINVAL and EAGAIN also of single places: nothing is in them, or another holds them.
        elif ctypes.get_errno() == errno.ENOMEM or (
            ctypes.get_errno() == errno.EINVAL and not moved
        ):
            break
    return moved


def _places(maps: str, size: int) -> Iterator[int]:
    """Yield the addresses of the whole huge pages in what `maps` says is this process's own."""
    for line in maps.splitlines():
        found = _OWN.fullmatch(line)
        if found is not None:
            start, end = (int(found[number], 16) for number in (1, 2))
            yield from range(-(-start // size) * size, end // size * size, size)
