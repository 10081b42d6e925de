"""The far side of a way back: ``python -m paretune.targets.transports.give STORE RATE``.

RATE is how many bytes per second the connection moves, 0 if that is unknown. It reads lines from
standard input to its end, each with a digest and how many bytes of that file the parent has, and
writes `paretune.targets.transports.greeting.BEGIN` and these files of the store's `FileStore` to
standard output (`paretune.targets.transports.files.send` in a
`paretune.targets.transports.packing.Packed`). If it
fails, it writes why to standard error, and its status is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from paretune.core.errors import ParetuneError


def main(store: str, rate: str = "0") -> int:
    """Send the files of a store that standard input names; returns the exit status."""
    from paretune.targets.transports.files import FileStore, send
    from paretune.targets.transports.greeting import BEGIN
    from paretune.targets.transports.packing import Packed, pays

    try:
        begun = {name: int(bytes_) for name, bytes_ in map(str.split, sys.stdin)}
        files = FileStore(Path(store).expanduser()).named(begun)
        left = sum(file.stamp.size - begun[file.sha256] for file in files)
        compress = pays([file.path for file in files], left, float(rate) or None)
        sys.stdout.buffer.write(BEGIN)
        with Packed(sys.stdout.buffer, compress=compress) as stream:
            send(files, stream, begun)
        sys.stdout.flush()
    except ParetuneError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{store}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
