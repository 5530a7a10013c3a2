"""The basis on which a file may be used: as objects, and as the text that they are written to and parsed from.

    Consent(text="form of 3 May", expires=date(2028, 5, 2), partners=["John Roe"])
                                     <->  "consent: form of 3 May; expires 2028-05-02; partners John Roe"
    Licence(name="CC-BY-4.0", holder="J. Doe")   <->  "licence: CC-BY-4.0, J. Doe"
    PublicDomain(source="NASA")                  <->  "public domain (NASA)"
    Synthetic(maker="StyleGAN3")                 <->  "synthetic: StyleGAN3"

Either form is accepted wherever a basis is; both go through one parser. The expiry date and the partners go into the manifest's own
fields, the words into its text.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from faceswap_lab.errors import ConsentError
from faceswap_lab.trust.consent.manifest import KINDS

FORMS = '"public domain (who released it)", "consent: when and how given", "licence: its name and whose", "synthetic: made by what"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A parsed basis: its kind, its words as written to a manifest, and the terms that limit it."""

    kind: str
    words: str
    expires: date | None = None
    partners: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """The words after the kind."""
        spelt = re.sub(r"^license\b", "licence", self.words, flags=re.IGNORECASE)
        return re.sub(r"^\s*(?:[:,]|-\s)?\s*", "", spelt[len(self.kind) :])


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The person agreed: `text` says when and how, `expires` until when (inclusive).

    `partners` are the other real people whose face may be swapped with this one. ValueError if it has no text form.
    """

    text: str
    expires: date | None = None
    partners: Collection[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.partners, str):
            raise ValueError(f"partners must be a list of names, got the string {self.partners!r}")
        object.__setattr__(self, "partners", tuple(sorted({" ".join(name.split()) for name in self.partners})))
        wanted = Terms(kind="consent", words=f"consent: {self.text}", expires=self.expires, partners=tuple(self.partners))
        _require_readable(str(self), wanted)

    def __str__(self) -> str:
        return f"consent: {self.text}{_ending(self.expires)}" + (f"; partners {', '.join(self.partners)}" if self.partners else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """A licence clears the picture, not the person in it: its `name`, the rights `holder`, and its last day (`expires`)."""

    name: str
    holder: str = ""
    expires: date | None = None

    def __post_init__(self) -> None:
        if "," in self.name:
            raise ValueError(f"a licence's name must not contain a comma, got {self.name!r}: the rights holder goes into holder")
        _require_readable(str(self), Terms(kind="licence", words=f"licence: {self._words}", expires=self.expires))

    @property
    def _words(self) -> str:
        return f"{self.name}, {self.holder}" if self.holder else self.name

    def __str__(self) -> str:
        return f"licence: {self._words}{_ending(self.expires)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDomain:
    """The picture is in the public domain; `source` says who released it. This clears the picture, not the person in it."""

    source: str

    def __post_init__(self) -> None:
        _require_readable(str(self), Terms(kind="public domain", words=f"public domain ({self.source})"))

    def __str__(self) -> str:
        return f"public domain ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Nobody real is depicted; `maker` says what generated the picture."""

    maker: str

    def __post_init__(self) -> None:
        _require_readable(str(self), Terms(kind="synthetic", words=f"synthetic: {self.maker}"))

    def __str__(self) -> str:
        return f"synthetic: {self.maker}"


Basis = Consent | Licence | PublicDomain | Synthetic


def parse_basis(basis: str) -> tuple[str, str]:
    """The kind that a declared basis begins with, and its full text.

    Raises `ConsentError` unless it begins with one of the kinds and has details after it: `"public domain (NASA)"`,
    `"consent: signed form of 3 May 2026"`, `"licence: CC-BY-4.0, J. Doe"`.
    """
    text = " ".join(basis.split())
    spelt = re.sub(r"^license\b", "licence", text, flags=re.IGNORECASE)
    for kind in KINDS:
        if (match := re.match(rf"{kind}\b(.*)", spelt, flags=re.IGNORECASE)) and re.search(r"\w", match[1]):
            return kind, text
    raise ConsentError(
        expected=f"a basis of one of these forms: {FORMS}", got=repr(basis), remedy="state the basis on which the file may be used"
    )


def terms_of(basis: str) -> Terms:
    """A parsed basis: the clauses `; expires 2028-05-02` and `; partners NAME, NAME` are its terms, the rest are its words.

    Raises `ConsentError` if it is no basis, and for a malformed term, so that no limit is ignored.
    """
    clauses = basis.split(";")
    terms: dict[str, str] = {}
    words: list[str] = []
    for clause in clauses:
        match = re.match(r"\s*(expires|partners)\b[\s:]*(.*?)\s*$", clause, flags=re.IGNORECASE | re.DOTALL)
        if match is None or not words:
            words.append(clause)
        elif match[1].lower() in terms:
            raise _unclear(basis, f"{match[1].lower()} twice")
        else:
            terms[match[1].lower()] = match[2]
    kind, text = parse_basis(";".join(words))
    return Terms(kind=kind, words=text, expires=_day(basis, terms), partners=_names(basis, terms))


def basis_of(text: str) -> Basis:
    """The object equivalent to `text`; errors as in `terms_of`. ConsentError for a text without an object form."""
    terms = terms_of(text)
    try:
        if terms.kind == "consent":
            return Consent(text=terms.detail, expires=terms.expires, partners=terms.partners)
        if terms.kind == "licence":
            name, _, holder = terms.detail.partition(", ")
            return Licence(name=name, holder=holder, expires=terms.expires)
        detail = re.sub(r"^\((.*)\)$", r"\1", terms.detail)
        return PublicDomain(source=detail) if terms.kind == "public domain" else Synthetic(maker=detail)
    except ValueError as error:
        raise _unclear(text, str(error)) from error


def _ending(expires: date | None) -> str:
    return f"; expires {expires.isoformat()}" if expires else ""


def _day(basis: str, terms: dict[str, str]) -> date | None:
    if "expires" not in terms:
        return None
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", terms["expires"]):
        raise _unclear(basis, f"expires {terms['expires']!r}")
    try:
        return date.fromisoformat(terms["expires"])
    except ValueError as error:
        raise _unclear(basis, f"expires {terms['expires']!r}") from error


def _names(basis: str, terms: dict[str, str]) -> tuple[str, ...]:
    if "partners" not in terms:
        return ()
    names = [" ".join(name.split()) for name in terms["partners"].split(",")]
    if not all(names):
        raise _unclear(basis, f"partners {terms['partners']!r}")
    return tuple(sorted(set(names)))


def _unclear(basis: str, got: str) -> ConsentError:
    return ConsentError(
        expected='terms such as "consent: form of 3 May; expires 2028-05-02; partners John Roe, Ann Poe"',
        got=f"{got} in {basis!r}",
        remedy="write dates as 2028-05-02, separate names by commas, and give each term once; or rephrase it",
    )


def _require_readable(text: str, wanted: Terms) -> None:
    """ValueError unless the object's text parses back to the same terms."""
    try:
        read = terms_of(text)
    except ConsentError as error:
        raise ValueError(f"{text!r} is not a valid basis: {error.got}") from error
    if read != wanted:
        raise ValueError(f"{text!r} would be parsed differently: write it in one line, without anything that looks like a term")
