"""The contract of a target: what it is, and how it runs jobs."""

from __future__ import annotations

from paretune.core.target import Interleaves, Target  # noqa: F401
