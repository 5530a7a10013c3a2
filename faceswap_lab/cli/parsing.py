"""How a command line is read: strictly, saying what is near when it is misspelt; with flags that are made when they are needed."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from faceswap_lab.runs.fields import near


class UsageError(SystemExit):
    """A command line that cannot be read, in three parts. It ends the process with code 2 unless it is caught."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(2)
        self.expected, self.got, self.remedy = expected, got, remedy


class ArgumentValueError(ValueError):
    """A value that its flag can't take, in three parts; a command finds it when it runs."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {remedy}")
        self.expected, self.got, self.remedy = expected, got, remedy


class Parser(argparse.ArgumentParser):
    """As argparse's, but an unknown flag is an error that says what is near, and nothing is abbreviated.

    `complete`, where it is set, adds further flags from the words that were typed. It is called when the command is really read
    or its help is asked for: a recipe's flags come from classes whose import takes seconds.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.complete: Callable[[Parser, Sequence[str]], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; a command takes all of its words or none."""
        words = list(sys.argv[1:] if args is None else args)
        self._completed(words)
        if self._subparsers is None:
            self._require_known(words)
        options, rest = super().parse_known_args(words, namespace)
        if rest and self._subparsers is None:
            raise self._unknown(rest[0])
        return options, rest

    def format_help(self) -> str:
        """The whole help, with the flags that are made when they are needed."""
        self._completed([])
        return super().format_help()

    def error(self, message: str) -> Any:
        """Raise UsageError in place of printing and leaving."""
        raise UsageError(expected=f"a command line as `{self.prog} --help` shows it", got=message, remedy=self._remedy([]))

    def flags(self) -> list[str]:
        """Every option that this command knows."""
        return [option for action in self._actions for option in action.option_strings]

    def _completed(self, words: Sequence[str]) -> None:
        if self.complete is not None:
            complete, self.complete = self.complete, None
            complete(self, words)

    def _require_known(self, words: Sequence[str]) -> None:
        """A misspelt flag is told of before what is missing: it may be what is missing."""
        flags = self.flags()
        for word in words[: words.index("--") if "--" in words else None]:
            if word.startswith("--") and word.partition("=")[0] not in flags:
                raise self._unknown(word)

    def _unknown(self, word: str) -> UsageError:
        name = word.partition("=")[0]
        if not name.startswith("-"):
            return UsageError(expected=f"no further words for `{self.prog}`", got=repr(word), remedy=self._remedy([]))
        close = near(name.replace("_", "-"), self.flags())
        return UsageError(expected=f"a flag that `{self.prog}` knows", got=f"the unknown flag {name}", remedy=self._remedy(close))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            close = near(str(value), known)
            hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known)}"
            raise argparse.ArgumentError(action, f"{value!r} is none of its words; {hint}")

    def _remedy(self, close: Sequence[str]) -> str:
        return f"did you mean {', '.join(close)}?" if close else f"see `{self.prog} --help`"
