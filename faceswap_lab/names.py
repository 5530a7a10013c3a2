"""Names of people, compared as people read them."""

import unicodedata


def folded(name: str) -> str:
    """A name without what does not tell people apart: letters' case, and how Unicode spells them (NFKC, then case folding)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def same_name(one: str, other: str) -> bool:
    """Whether two names mean one person."""
    return folded(one) == folded(other)
