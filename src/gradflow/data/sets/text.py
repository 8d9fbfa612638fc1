"""A text, character by character, to predict each next one: data=text task=next_token.

A token is the index of a character among all characters of the text, both splits, in the order of
their code points. The first nine tenths of the text are trained on and the last tenth is the test
split. Each is cut into windows of `context` characters, one behind the other, whose targets are the
same characters one place further; what is left over at the end is not used.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from gradflow.config.data import TOKENS, DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.data.arrays import SPLITS, Source
from gradflow.data.cache import Arrays
from gradflow.data.user_files import mixed, unreadable

TEST_TENTHS = 1


@dataclass(frozen=True)
class TextConfig(DataConfig):
    """A text of the user's in UTF-8, or without a file the topics of Python's own help.

    An evaluation takes 512 windows of each split unless evaluation.images says otherwise.
    """

    EVALUATED: ClassVar[int | None] = 512

    name: str = choice("text")
    file: str = ""
    context: int = number(64, at_least=1)


@register(TextConfig)
def text(config: TextConfig) -> Source:
    """The windows of a text.

    Raises:
        GradflowError: no such file, or it is no UTF-8; all of its characters are one; a split has
            no window.
    """
    written = _file(config) if config.file else _topics()
    characters = sorted(set(written))
    if len(characters) < 2:
        config.refuse("file", f"has {len(characters)} different characters; needs two or more")
    parts = _split(written)
    # A window needs the character behind it too, and so does each split.
    longest = min(len(part) for part in parts.values()) - 1
    if longest < config.context:
        fits = f"<= {longest} for it" if longest > 0 else "no context fits"
        config.refuse(
            "context",
            f"the test split, a tenth of the text, has {longest + 1} characters; {fits}",
        )
    digest = hashlib.sha256(written.encode()).hexdigest()[:12]
    return Source(
        f"text-{digest}-{config.context}",
        len(characters),
        lambda: _decode(parts, characters, config.context),
        TOKENS,
    )


def _split(written: str) -> dict[str, str]:
    held = len(written) * TEST_TENTHS // 10
    return {"train": written[: len(written) - held], "test": written[len(written) - held :]}


def _file(config: TextConfig) -> str:
    path = Path(config.file)
    if not path.is_file():
        config.refuse("file", "no such file; it needs a text in UTF-8")
    try:
        return path.read_bytes().decode("utf-8-sig")  # without the mark that some editors put first
    except UnicodeDecodeError as error:
        config.refuse("file", f"is no UTF-8: byte {error.start} cannot be decoded")
    except OSError as error:
        unreadable(f"data.file={path}", error)


@lru_cache(maxsize=1)
def _topics() -> str:
    """About half a megabyte, which differs from one version of Python to another."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _decode(parts: dict[str, str], characters: list[str], context: int) -> Arrays:
    known = np.array([ord(character) for character in characters], np.uint32)
    tokens = np.min_scalar_type(len(characters) - 1)
    windows = {}
    for split in SPLITS:
        points = np.frombuffer(parts[split].encode("utf-32-le"), "<u4")
        indices = np.searchsorted(known, points).astype(tokens)
        count = (len(indices) - 1) // context
        now, following = indices[: count * context], indices[1 : count * context + 1]
        windows[split] = now.reshape(count, context), following.reshape(count, context)
    return mixed(windows)
