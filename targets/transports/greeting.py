"""What a login prints on the far side before a program of ours begins there is read over.

The start-up file of a shell may print to standard output at each command (a greeting, the title of
a window), with or without a line break at its end. So what sends or receives files there first
writes a line that no greeting has.
"""

from __future__ import annotations

from typing import IO

from paretune.core.errors import TransientError

BEGIN = b"paretune: files\n"
MOST_GREETING_BYTES = 1 << 20
"""Of what a login prints before a program has begun."""
_LONGEST_LINE = 1 << 16


def skip_greeting(stream: IO[bytes]) -> None:
    """Read a stream until `BEGIN` was read, or to its end.

    Raises:
        TransientError: There is more than a greeting before it.
    """
    read = 0
    while line := stream.readline(_LONGEST_LINE):
        if line.endswith(BEGIN):
            return
        read += len(line)
        if read > MOST_GREETING_BYTES:
            raise TransientError(f"{line[:200]!r}, and more of it, is not a stream of files")
