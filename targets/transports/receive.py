"""The far side of a transport: ``python -m paretune.targets.transports.receive STORE``.

It writes two lines to standard output: `paretune.targets.transports.greeting.BEGIN`, and a JSON
object of the files of which the beginning is there, with its bytes (`FileStore.begun`). Then it
reads a stream of files (`paretune.targets.transports.files.send` in a
`paretune.targets.transports.packing.Packed`) from standard input, and writes their number to
standard output. If it fails, it writes why to standard error, and its status is 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, cast

from paretune.core.errors import ParetuneError


def main(store: str, *words: str) -> int:
    """Receive all files of standard input into a store; returns the exit status.

    Args:
        store: The store's folder.
        words: ``incoming``: those that rsync has brought are taken over before.
    """
    from paretune.targets.transports.files import INCOMING, FileStore
    from paretune.targets.transports.greeting import BEGIN
    from paretune.targets.transports.packing import Unpacked

    try:
        files = FileStore(Path(store).expanduser())
        if INCOMING in words:
            files.take_in()
        print(BEGIN.decode() + json.dumps(files.begun()), flush=True)
        count = files.receive(cast(IO[bytes], Unpacked(sys.stdin.buffer)))
    except ParetuneError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{store}: {error.strerror}", file=sys.stderr)
        return 1
    print(count)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
