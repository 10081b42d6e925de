"""What every section of a configuration has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of the sections: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
