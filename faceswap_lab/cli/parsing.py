"""A strict argument parser that suggests close matches for misspelt flags, and adds flags lazily."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from faceswap_lab.runs.fields import near


class UsageError(SystemExit):
    """A command line that cannot be parsed, in three parts. Unless caught, it exits the process with code 2."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(2)
        self.expected, self.got, self.remedy = expected, got, remedy


class ArgumentValueError(ValueError):
    """An invalid value of an argument, in three parts, found only when the command runs."""

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {remedy}")
        self.expected, self.got, self.remedy = expected, got, remedy


class Parser(argparse.ArgumentParser):
    """argparse's parser, except that errors about unknown flags suggest close matches, and flags cannot be abbreviated.

    `complete`, if set, adds further flags depending on the command line. It is called only when the command is parsed or its help
    is shown, because a recipe's flags come from classes whose import takes seconds.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.complete: Callable[[Parser, Sequence[str]], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but a command rejects unknown arguments."""
        words = list(sys.argv[1:] if args is None else args)
        self._completed(words)
        if self._subparsers is None:
            self._require_known(words)
        options, rest = super().parse_known_args(words, namespace)
        if rest and self._subparsers is None:
            raise self._unknown(rest[0])
        return options, rest

    def format_help(self) -> str:
        """The full help, including the flags that are added lazily."""
        self._completed([])
        return super().format_help()

    def error(self, message: str) -> Any:
        """Raise UsageError instead of printing and exiting."""
        raise UsageError(expected=f"a command line as shown by `{self.prog} --help`", got=message, remedy=self._remedy([]))

    def flags(self) -> list[str]:
        """All option strings of this command."""
        return [option for action in self._actions for option in action.option_strings]

    def _completed(self, words: Sequence[str]) -> None:
        if self.complete is not None:
            complete, self.complete = self.complete, None
            complete(self, words)

    def _require_known(self, words: Sequence[str]) -> None:
        """Report misspelt flags before missing ones, as they may be the same."""
        flags = self.flags()
        for word in words[: words.index("--") if "--" in words else None]:
            if word.startswith("--") and word.partition("=")[0] not in flags:
                raise self._unknown(word)

    def _unknown(self, word: str) -> UsageError:
        name = word.partition("=")[0]
        if not name.startswith("-"):
            return UsageError(expected=f"no further arguments of `{self.prog}`", got=repr(word), remedy=self._remedy([]))
        close = near(name.replace("_", "-"), self.flags())
        return UsageError(expected=f"a flag of `{self.prog}`", got=f"the unknown flag {name}", remedy=self._remedy(close))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            close = near(str(value), known)
            hint = f"did you mean {', '.join(close)}?" if close else f"choose from {', '.join(known)}"
            raise argparse.ArgumentError(action, f"{value!r} is not a valid choice; {hint}")

    def _remedy(self, close: Sequence[str]) -> str:
        return f"did you mean {', '.join(close)}?" if close else f"see `{self.prog} --help`"
