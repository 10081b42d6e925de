"""An interpreter whose agent is the real one but for some lines of Python that run before it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """
import json, sys, threading
from dataclasses import replace
from pathlib import Path
from paretune.targets import agent
from paretune.targets.launchers.local import LocalTarget
facts = Path({facts!r})
info = LocalTarget.info
LocalTarget.info = lambda self: replace(info(self), **json.loads(facts.read_text()))
{code}
agent.main()
"""
_SHELL = """#!/bin/sh
{environment}
case "$*" in
*paretune.targets.agent*) exec {python} -P {folder}/paretune.targets.agent.py ;;
*paretune.targets.transports.give*) {give} ;;
esac
exec {python} "$@"
"""


class Impostor:
    """An interpreter that a fault has got hold of.

    Args:
        folder: It is made.
        code: Runs in the agent, before it begins.
        give: A shell command that runs in the place of what sends files back.
        environment: Lines of shell before everything.

    Attributes:
        python: The interpreter's path.
    """

    def __init__(
        self, folder: Path, code: str = "", give: str = ":", environment: str = ""
    ) -> None:
        folder.mkdir()
        self.python = folder / "python"
        self._facts = folder / "facts.json"
        self.set()
        (folder / "paretune.targets.agent.py").write_text(
            _PROGRAM.format(facts=str(self._facts), code=code)
        )
        self.python.write_text(
            _SHELL.format(environment=environment, python=sys.executable, folder=folder, give=give)
        )
        self.python.chmod(0o755)

    def set(self, **facts: Any) -> None:
        """Choose what the next agent says that its device is (`TargetInfo`)."""
        self._facts.write_text(json.dumps(facts))
