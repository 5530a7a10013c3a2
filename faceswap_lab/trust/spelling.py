"""Finding people's names in text, however they are spelled there: case, Unicode form, accents, and what separates their parts."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

from faceswap_lab.names import folded

_SEPARATOR = r"[\W_]{0,3}"
"""Between the parts of a name: "Jane Doe" is also jane_doe, Jane-Doe and JaneDoe."""

_MARK = r"[\u0300-\u036f]"
"""A combining accent."""


class Finder:
    """Finds `words` (exact, such as a manifest's name) and `names` (in any spelling) in texts.

    What is found is told by its position in `(*words, *names)`. At one place the longest comes first.
    """

    def __init__(self, words: Sequence[str], names: Sequence[str]) -> None:
        wanted = [(text, _word(text), number) for number, text in enumerate(words)]
        wanted += [(text, _name(text), number) for number, text in enumerate(names, len(words))]
        wanted.sort(key=lambda each: len(each[0]), reverse=True)
        self._any = _either([pattern for _, pattern, _ in wanted])
        self._numbers = [number for _, _, number in wanted]
        self._folded = _either([_name(folded(text)) if number >= len(words) else pattern for text, pattern, number in wanted])

    def replaced(self, text: str, put: Callable[[int, str], str]) -> str:
        """The text with `put(number, spelling)` in place of everything that is found.

        A name that only the case-folded text shows (WEISS for Weiß) is replaced in that, and the text is then all lower case.
        """
        if self._folded.search(folded(self._any.sub("\0", text))):
            return self._folded.sub(lambda hit: put(self._numbers[_group(hit)], hit.group()), folded(text))
        return self._any.sub(lambda hit: put(self._numbers[_group(hit)], hit.group()), text)


@lru_cache(maxsize=4)
def finder(words: tuple[str, ...], names: tuple[str, ...]) -> Finder:
    """A `Finder`, kept for the next line about the same people."""
    return Finder(words, names)


def _group(hit: re.Match[str]) -> int:
    assert hit.lastindex is not None, "every alternative is a group"
    return hit.lastindex - 1


def _either(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"({pattern})" for pattern in patterns) or r"(?!)", re.IGNORECASE)


def _word(word: str) -> str:
    return rf"(?<![\w-]){re.escape(word)}(?![\w-])"


def _name(name: str) -> str:
    """A pattern for the parts of a name in this order; for a name of punctuation alone, the name as it is."""
    composed = unicodedata.normalize("NFC", name)
    parts = re.findall(r"[^\W_]+", composed)
    if not parts:
        return re.escape(name)
    pattern = _SEPARATOR.join("".join(map(_letter, part)) for part in parts)
    # Scripts without case (Chinese, Arabic, Thai) need no blank around a name.
    before = r"(?<![^\W_])" if _has_case(parts[0][0]) else ""
    after = rf"(?!{_MARK}*[^\W_])" if _has_case(parts[-1][-1]) else ""
    return before + pattern + after


def _letter(letter: str) -> str:
    """A letter with its accents, composed or not, or without them."""
    plain = unicodedata.normalize("NFD", letter)[0]
    return re.escape(letter) if plain == letter else f"(?:{re.escape(letter)}|{re.escape(plain)}{_MARK}*)"


def _has_case(letter: str) -> bool:
    return letter.lower() != letter.upper()
