"""Reads Olive's file as a source of paretune's configuration."""

from __future__ import annotations

from pathlib import Path as FilePath

from paretune.config.olive.entries import Status, nearest_origin
from paretune.config.olive.rendering import config_text
from paretune.config.olive.translating import Translation, is_olive, translate
from paretune.config.plan import Aside
from paretune.config.reading import read_source
from paretune.config.yaml_source import Path, Source
from paretune.core.errors import ConfigError
from paretune.core.user_paths import expanded


class TranslatedSource(Source):
    """A translated configuration, read as if it had been written; errors point at the JSON.

    Args:
        translation: The translation; it has to be whole.
    """

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        super().__init__(config_text(translation.config), translation.source.file)

    def line(self, path: Path) -> int | None:
        """Return the line of the JSON that a key of paretune's configuration came from."""
        return self._translation.source.line(self._origin(path))

    def error(self, path: Path, message: str, hint: str | None = None) -> ConfigError:
        """Return an error at the key of the JSON that a key of the configuration came from."""
        return self._translation.source.error(self._origin(path), message, hint)

    def _origin(self, path: Path) -> Path:
        return nearest_origin(self._translation.origins, path)


def open_source(text: str, file: str) -> tuple[Source, Aside]:
    """Return a configuration's source, and notes and folders; Olive's is translated.

    Args:
        text: The configuration.
        file: Its name; the folders in Olive's configuration start at the file's folder.

    Raises:
        UsageError: A part of Olive's configuration is not supported.
    """
    source = read_source(text, file)
    if not is_olive(source.value):
        return source, Aside()
    translation = translate(source)
    translation.require_whole()
    study, store = (
        None if name is None else FilePath(file).parent / expanded(name)
        for name in (translation.folders.study, translation.folders.store)
    )
    return TranslatedSource(translation), Aside(_notes(translation), study, store)


def _notes(translation: Translation) -> tuple[str, ...]:
    keys = [entry.key for entry in translation.of(Status.APPROXIMATED)]
    if not keys:
        return ()
    told = f"translated from Olive with differences: {', '.join(keys)}"
    return (f"{told} (`paretune import-olive` lists the differences)",)
