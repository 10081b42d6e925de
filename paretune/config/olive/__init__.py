"""Olive's configurations, translated into ours: key by key, and nothing in silence."""

from paretune.config.olive.entries import Entry, Status
from paretune.config.olive.translating import Translation, is_olive, translate

__all__ = ["Entry", "Status", "Translation", "is_olive", "translate"]
