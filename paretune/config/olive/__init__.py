"""Translates Olive's configurations into paretune's; the result of each key is reported."""

from paretune.config.olive.entries import Entry, Status
from paretune.config.olive.translating import Translation, is_olive, translate

__all__ = ["Entry", "Status", "Translation", "is_olive", "translate"]
