"""Comparing names of people regardless of case and Unicode form."""

import unicodedata


def folded(name: str) -> str:
    """A name normalised for comparison: NFKC, then case folding, then NFKC again."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def same_name(one: str, other: str) -> bool:
    """Whether two names denote the same person."""
    return folded(one) == folded(other)
