"""Memory in huge pages: what is moved, and that a child forked from it is none the wiser."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from paretune.targets.launchers.huge_pages import _places

SIZE = 1 << 21
MAPS = f"""\
{0x10000:x}-{0x20000:x} r-xp 00000000 fe:00 77                       /usr/bin/python
{SIZE:x}-{3 * SIZE:x} rw-p 00000000 00:00 0                          [heap]
{8 * SIZE + 4096:x}-{10 * SIZE + 4096:x} rw-p 00000000 00:00 0
{20 * SIZE:x}-{21 * SIZE:x} rw-p 00000000 00:00 0                    [anon: glibc]
{30 * SIZE:x}-{31 * SIZE:x} rw-s 00000000 00:01 0
{40 * SIZE:x}-{41 * SIZE:x} r--p 00000000 00:00 0                    [vvar]
{50 * SIZE:x}-{51 * SIZE:x} rw-p 00000000 00:00 0                    [stack]
{60 * SIZE:x}-{61 * SIZE:x} rw-p 00000000 fe:00 99                   /some/file
"""


def test_only_whole_huge_pages_of_private_memory_of_no_file_are_moved() -> None:
    assert [place // SIZE for place in _places(MAPS, SIZE)] == [1, 2, 9, 20]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_child_has_what_was_moved_and_writes_to_pages_of_its_own() -> None:
    script = """
import os
from paretune.targets.launchers.huge_pages import use_huge_pages
kept = [bytearray(b"x" * 100_000) for _ in range(200)]
assert use_huge_pages() >= 0
pid = os.fork()
if pid == 0:
    good = all(part == b"x" * 100_000 for part in kept)
    for part in kept:
        part[:] = b"y" * 100_000
    os._exit(0 if good else 1)
assert os.waitpid(pid, 0)[1] == 0
assert all(part == b"x" * 100_000 for part in kept)
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))
