"""Models on disk: what they are, what their files name, and what cannot work.

`Model`, `ModelInfo` and `ModelKind` are here for plug-ins; they stand in `paretune.core.model`.
"""

from paretune.core.model import Model, ModelInfo, ModelKind

__all__ = ["Model", "ModelInfo", "ModelKind"]
