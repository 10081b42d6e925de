"""The far side of a transport: ``python -m paretune.targets.transports.receive STORE``.

It reads a stream of files (`paretune.targets.transports.files.send`) from standard input, and
writes their number to standard output. If it fails, it writes why to standard error, and its status
is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from paretune.core.errors import ParetuneError


def main(store: str) -> int:
    """Receive all files of standard input into a store; returns the exit status."""
    from paretune.targets.transports.files import FileStore

    try:
        count = FileStore(Path(store).expanduser()).receive(sys.stdin.buffer)
    except ParetuneError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{store}: {error.strerror}", file=sys.stderr)
        return 1
    print(count)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
