"""Consents as objects and as text: one reader, nothing lost, and what has run out is refused."""

import tomllib
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faceswap_lab as lab
from faceswap_lab.errors import ConsentError
from faceswap_lab.trust import audit, subjects
from faceswap_lab.trust.admit import admit, admit_all
from faceswap_lab.trust.consent.basis import Basis, Consent, Licence, PublicDomain, Synthetic, basis_of, terms_of
from faceswap_lab.trust.consent.manifest import find_entry

DAY = date(2026, 5, 3)
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30)
NAMES = st.lists(st.from_regex(r"[A-Z][a-z]{1,8} [A-Z][a-z]{1,8}", fullmatch=True), max_size=3)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("consent: form of 3 May", Consent(text="form of 3 May")),
        (
            "consent: form of 3 May; expires 2028-05-02; partners Ann Poe, John Roe",
            Consent(text="form of 3 May", expires=date(2028, 5, 2), partners=["John Roe", "Ann Poe", "John  Roe"]),
        ),
        ("licence: CC-BY-4.0, J. Doe", Licence(name="CC-BY-4.0", holder="J. Doe")),
        ("licence: CC0; expires 2027-01-01", Licence(name="CC0", expires=date(2027, 1, 1))),
        ("public domain (NASA)", PublicDomain(source="NASA")),
        ("synthetic: StyleGAN3", Synthetic(maker="StyleGAN3")),
    ],
)
def test_the_forms(text: str, made: Basis) -> None:
    assert str(made) == text
    assert basis_of(text) == made


@given(words=WORDS, expires=st.none() | st.dates(), partners=NAMES)
def test_a_consent_is_read_back_or_never_made(words: str, expires: date | None, partners: list[str]) -> None:
    try:
        made = Consent(text=words, expires=expires, partners=partners)
    except ValueError:
        return
    assert basis_of(str(made)) == made
    read = terms_of(str(made))
    assert (read.words, read.expires, set(read.partners)) == (f"consent: {words}", expires, set(partners))


@given(st.sampled_from([Licence, PublicDomain, Synthetic]), WORDS)
def test_other_grounds_are_read_back_or_never_made(kind: type, words: str) -> None:
    field = {Licence: "name", PublicDomain: "source", Synthetic: "maker"}[kind]
    try:
        made = kind(**{field: words})
    except ValueError:
        return
    assert str(basis_of(str(made))) == str(made)


def test_plain_words_can_be_said() -> None:
    """Without this, the two tests above could pass because everything is refused."""
    for words in ("form of 3 May", "e-mail from Jane, kept by the lead", "signed: yes"):
        assert terms_of(str(Consent(text=words))).words == f"consent: {words}"


@pytest.mark.parametrize(
    "wrong",
    [
        "consent: a form; expires soon",
        "consent: a form; expires 2028-13-01",
        "consent: a form; Expires: 1 May 2028",
        "consent: a form; partners ",
        "consent: a form; partners Ann,,Bob",
        "consent: a form; expires 2028-01-01; expires 2029-01-01",
    ],
)
def test_a_term_that_cannot_be_read_is_refused_not_passed_over(wrong: str) -> None:
    with pytest.raises(ConsentError, match="terms such as"):
        terms_of(wrong)


def test_what_no_text_can_say_is_not_made() -> None:
    for wrong in (
        {"text": ""},
        {"text": "a form; expires 2028-01-01"},
        {"text": "two\nlines"},
        {"text": "a form", "partners": ["Doe, Jane"]},
        {"text": "a form", "partners": ["Ann; partners Bob"]},
        {"text": "a form", "partners": "Ann"},
    ):
        with pytest.raises(ValueError, match=r"parsed|valid|partners"):
            Consent(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="comma"):
        Licence(name="CC-BY, J. Doe")


# --- through to the manifest ------------------------------------------------------------------------------------------------


def photo(folder: Path, content: str = "a") -> Path:
    path = folder / f"{content}.png"
    path.write_text(content)
    return path


@pytest.mark.parametrize("as_text", [False, True])
def test_terms_reach_the_manifest_the_grant_and_the_log(tmp_path: Path, as_text: bool) -> None:
    made = Consent(text="form of 3 May", expires=date(2028, 5, 2), partners=["John Roe", "Ann Poe"])
    clip = admit(photo(tmp_path), root=tmp_path, who="Jane", basis=str(made) if as_text else made, uses=["swap-source"], today=DAY)
    entry = find_entry(tmp_path, clip.grant.sha256)
    assert entry is not None
    consent = entry.manifest.consent
    assert (consent.kind, consent.text, consent.expires) == ("consent", "consent: form of 3 May", date(2028, 5, 2))
    assert consent.partners == {"Ann Poe", "John Roe"}
    assert clip.grant.basis_text == "consent: form of 3 May"
    written = tomllib.loads((tmp_path / "data_manifests" / "jane.toml").read_text())
    assert written["consent"]["partners"] == ["Ann Poe", "John Roe"]
    declared = subjects.resolver(tmp_path)(audit.read(tmp_path)[0].event)
    assert (declared["expires"], declared["partners"]) == ("2028-05-02", ["Ann Poe", "John Roe"])
    admit(photo(tmp_path), root=tmp_path, today=date(2028, 5, 2))
    with pytest.raises(ConsentError, match="expired"):
        admit(photo(tmp_path), root=tmp_path, today=date(2028, 5, 3))


def test_other_terms_are_another_manifest_and_the_same_terms_the_same(tmp_path: Path) -> None:
    labels = []
    for number, expires in enumerate([None, date(2028, 5, 2), date(2028, 5, 2)]):
        basis = Consent(text="a form", expires=expires)
        clip = admit(photo(tmp_path, str(number)), root=tmp_path, who="Jane", basis=basis, uses=["train"], today=DAY)
        labels.append(clip.grant.entry)
    assert labels == ["jane:2", "jane-2:2", "jane-2:3"]


@pytest.mark.parametrize("basis", [Consent(text="a form", expires=DAY - timedelta(1)), "consent: a form; expires 2026-05-02"])
def test_a_consent_that_has_run_out_is_refused_and_nothing_is_written(tmp_path: Path, basis: str | Consent) -> None:
    with pytest.raises(ConsentError, match="expired on 2026-05-02"):
        admit(photo(tmp_path), root=tmp_path, who="Jane", basis=basis, uses=["train"], today=DAY)
    assert not (tmp_path / "data_manifests").exists()
    allowed, refused = admit_all([photo(tmp_path)], root=tmp_path, who="Jane", basis=basis, uses=["train"], today=DAY)
    assert not allowed
    assert "expired" in str(refused[0].error)


def test_partners_are_a_consents_alone(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="partners"):
        admit(photo(tmp_path), root=tmp_path, who="Jane", basis="licence: CC0; partners Ann", uses=["train"], today=DAY)


def test_the_objects_are_public() -> None:
    assert (lab.Consent, lab.Licence, lab.PublicDomain, lab.Synthetic) == (Consent, Licence, PublicDomain, Synthetic)
    assert lab.errors.ConsentError is ConsentError
