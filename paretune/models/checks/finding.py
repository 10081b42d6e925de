"""One thing that was found about a model before anything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was found, where, and what to do.

    Attributes:
        message: The file, the key or tensor, what it says and what was expected.
        hint: What to do next.
        fatal: True: nothing can come of this model. False: worth knowing only.
    """

    message: str
    hint: str
    fatal: bool = True

    @property
    def text(self) -> str:
        """Both as one line, for a note."""
        return f"{self.message}. {self.hint}".rstrip(". ") if self.hint else self.message
