"""Manifests: what they say is read exactly or not at all."""

import time
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.errors import ConsentError, ManifestError
from faceswap_lab.files import sha256_file
from faceswap_lab.trust import audit, subjects
from faceswap_lab.trust.consent import manifest as consent
from faceswap_lab.trust.consent.basis import parse_basis
from faceswap_lab.trust.consent.declare import declare
from faceswap_lab.trust.consent.manifest import find_entry, locate, read_manifest, uri_problem
from faceswap_lab.trust.consent.withdraw import entries_of

DAY = date(2026, 6, 1)
SHA = "ab" * 32
TOML = """\
version = 1
subject = "Jane Doe"
source = "a studio"
licence = "granted"

[consent]
kind = "consent"
text = "consent: a form"
date = 2026-05-03
uses = ["anonymise"]
"""


def put(root: Path, name: str = "jane", toml: str = TOML, rows: str = f"uri,sha256\nclips/a.mp4,{SHA}\n") -> Path:
    folder = root / "data_manifests"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_text(rows)
    path = folder / f"{name}.toml"
    path.write_text(toml)
    return path


def test_an_entry_says_what_its_files_say(tmp_path: Path) -> None:
    put(tmp_path, toml=TOML + 'expires = 2026-07-01\npartners = ["John Roe"]\n', rows=f"uri,sha256,split\na.png,{SHA},train\n")
    entry = find_entry(tmp_path, SHA)
    assert entry is not None
    assert (entry.label, entry.uri, entry.split, entry.subject) == ("jane:2", "a.png", "train", "Jane Doe")
    assert entry.manifest.consent.uses == {"anonymise"}
    assert entry.manifest.consent.partners == {"John Roe"}
    assert not entry.synthetic
    assert find_entry(tmp_path, "cd" * 32) is None


@pytest.mark.parametrize(
    ("extra", "day", "standing"),
    [
        ("", date(2026, 5, 3), ""),
        ("", date(2026, 5, 2), "not given before 2026-05-03"),
        ("expires = 2026-06-01\n", DAY, ""),
        ("expires = 2026-05-31\n", DAY, "expired on 2026-05-31"),
        ("withdrawn = 2026-05-04\n", DAY, "withdrawn on 2026-05-04"),
        ("withdrawn = 2030-01-01\n", DAY, "withdrawn on 2030-01-01"),
    ],
)
def test_an_entry_stands_or_says_why_not(tmp_path: Path, extra: str, day: date, standing: str) -> None:
    put(tmp_path, toml=TOML + extra)
    entry = find_entry(tmp_path, SHA)
    assert entry is not None
    assert entry.standing(day) == standing


@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ("subject =", "subjct =", 2, "subjct: extra"),
        ('uses = ["anonymise"]', 'uses = ["anonymize"]', 10, "input should be"),
        ('uses = ["anonymise"]', 'uses = "anonymise"', 10, "list"),
        ('uses = ["anonymise"]', 'uses = ["train", "train"]', 10, "repetition"),
        ("date = 2026-05-03", 'date = "2026-05-03"', 9, "date"),
        ("version = 1", "version = 2", 1, "version"),
        ("version = 1", "version = true", 1, "version"),
        ('kind = "consent"', 'kind = "hearsay"', 7, "kind"),
        ('subject = "Jane Doe"', 'subject = "Actor:7"', None, "actor:"),
        ('subject = "Jane Doe"', 'subject = "synthetic"', None, "synthetic"),
        ('subject = "Jane Doe"', 'subject = ""', 2, "subject"),
        ('subject = "Jane Doe"', 'subject = " "', 2, "subject"),
        ('kind = "consent"', 'kind = "synthetic"', None, "synthetic"),
        ("[consent]", "[consent]\nexpires = 2026-05-02", 6, "expires is before"),
        ("[consent]", "[consent]\nwithdrawn = false", 7, "withdrawn"),
        ("[consent]", "[consent]\npartner = []", 7, "partner"),
        ('kind = "consent"', "kind =", None, "line 7"),
        ('source = "a studio"\n', "", None, "source: field required"),
    ],
)
def test_a_faulty_manifest_is_named(tmp_path: Path, old: str, new: str, line: int | None, named: str) -> None:
    assert old in TOML
    path = put(tmp_path, toml=TOML.replace(old, new))
    with pytest.raises(ManifestError) as caught:
        find_entry(tmp_path, SHA)
    assert str(path) in caught.value.got
    assert named in caught.value.got
    if line:
        assert f"line {line}:" in caught.value.got


@pytest.mark.parametrize("kind", ["public domain", "licence"])
@pytest.mark.parametrize("line", ['uses = ["swap-source"]', 'uses = ["swap-target"]', 'uses = []\npartners = ["John Roe"]'])
def test_a_picture_that_is_free_is_no_person_that_agreed(tmp_path: Path, kind: str, line: str) -> None:
    put(tmp_path, toml=TOML.replace('kind = "consent"', f'kind = "{kind}"').replace('uses = ["anonymise"]', line))
    with pytest.raises(ManifestError):
        find_entry(tmp_path, SHA)


@pytest.mark.parametrize(
    ("rows", "line", "named"),
    [
        (f"url,sha256\na,{SHA}\n", 1, "header"),
        (f"a,{SHA}\n", 1, "header"),
        (f"uri,sha256,split,more\na,{SHA},train,x\n", 1, "header"),
        (f"uri,sha256\nb,{'cd' * 32}\na,{SHA},train\n", 3, "3 fields"),
        (f"uri,sha256\n,{SHA}\n", 2, "empty"),
        (f"uri,sha256\na,{SHA.upper()}G\n", 2, "64 hex digits"),
        (f"uri,sha256\na,{SHA}0\n", 2, "64 hex digits"),
        (f"uri,sha256\na,{SHA}\nb,{SHA}\n", 3, "already in line 2"),
        (f"uri,sha256\na,{SHA}\na,{'cd' * 32}\n", 3, "already in line 2"),
        (f"uri,sha256\n../a,{SHA}\n", 2, "leaves its folder"),
        (f"uri,sha256\n/etc/a,{SHA}\n", 2, "relative"),
        (f"uri,sha256,split\na,{SHA},held-out\n", 2, "not one of train, val, test"),
        (f'uri,sha256\n"a,{SHA}\n', 2, "unexpected end"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, rows: str, line: int, named: str) -> None:
    path = put(tmp_path, rows=rows).with_suffix(".csv")
    with pytest.raises(ManifestError) as caught:
        find_entry(tmp_path, SHA)
    assert f"{path}, line {line}:" in caught.value.got
    assert named in caught.value.got


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    put(tmp_path).write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="UTF-8"):
        find_entry(tmp_path, SHA)


def test_one_file_in_two_manifests_is_refused(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, name="other")
    with pytest.raises(ManifestError, match="jane:2 and other:2"):
        find_entry(tmp_path, SHA)


def test_another_manifests_fault_is_not_this_files(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, name="broken", toml="nonsense", rows="uri,sha256\n")
    assert find_entry(tmp_path, SHA) is not None


@pytest.mark.parametrize(
    "uri",
    [
        "..",
        "a/../../b",
        "/a",
        "~/a",
        "C:/a",
        "c:a",
        "a\\b",
        "",
        " a",
        "a\n",
        "://x",
        "package://../a",
        "package://p/../a",
        "s3://b/%2e%2e/a",
    ],
)
def test_uris_that_leave_their_folder(uri: str, tmp_path: Path) -> None:
    assert uri_problem(uri)
    with pytest.raises(ManifestError):
        locate(tmp_path, uri)


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab./\\:~%2e "), max_size=12))
def test_no_accepted_uri_leads_out(uri: str) -> None:
    root = Path("/lab/root")
    if not uri_problem(uri) and "://" not in uri:
        assert locate(root, uri).is_relative_to(root)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ManifestError, match="link"):
        locate(root, "link/secret")


def test_the_astronaut_is_where_and_what_her_manifest_says() -> None:
    root = Path(consent.__file__).parents[3]
    manifest, entries = read_manifest(root / "data_manifests" / "astronaut.toml")
    assert manifest.consent.uses == {"anonymise"}
    (entry,) = entries
    assert sha256_file(locate(root, entry.uri)) == entry.sha256


def test_every_manifest_of_this_repository_reads() -> None:
    root = Path(consent.__file__).parents[3]
    assert {name for name, _, _ in consent.read_manifests(root)} >= {"astronaut"}


@pytest.mark.parametrize(
    ("basis", "kind"),
    [
        ("public domain (NASA)", "public domain"),
        ("Public Domain: NASA", "public domain"),
        ("consent: signed form of 3 May", "consent"),
        ("consent by e-mail", "consent"),
        ("licence: CC-BY-4.0, J. Doe", "licence"),
        ("License CC0", "licence"),
        ("  synthetic:  StyleGAN3 ", "synthetic"),
    ],
)
def test_kinds_of_basis(basis: str, kind: str) -> None:
    assert parse_basis(basis)[0] == kind


@pytest.mark.parametrize(
    "basis", ["", " ", "yes", "consent", "consent: ", "consented: x", "public domain ()", "my licence: x", "derived: x"]
)
def test_a_basis_that_says_nothing_lists_the_kinds(basis: str) -> None:
    with pytest.raises(ConsentError) as caught:
        parse_basis(basis)
    assert all(kind in str(caught.value) for kind in consent.KINDS)


def declared(
    root: Path, path: Path, who: str = "Jane Doe", basis: str = "consent: a form", uses: tuple[str, ...] = ("train",)
) -> str:
    return declare(root, path=path, sha256=sha256_file(path), who=who, basis=basis, uses=uses, source="", today=DAY).label


def picture(folder: Path, name: str, content: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content or name)
    return path


def test_declaring_writes_what_is_read_back(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "lab", tmp_path / "elsewhere"
    root.mkdir()
    assert declared(root, picture(root, "a.png")) == "jane-doe:2"
    assert declared(root, picture(elsewhere, "b, c.png")) == "jane-doe:3", "the same words: the same manifest"
    assert declared(root, picture(elsewhere, "a.png", "another")) == "jane-doe:4"
    assert declared(root, picture(elsewhere, "d.png"), basis="consent: another form") == "jane-doe-2:2"
    assert declared(root, picture(elsewhere, "a copy.png", "a.png")) == "jane-doe:2", "a copy is the same file"
    _, entries = read_manifest(root / "data_manifests" / "jane-doe.toml")
    assert [entry.uri for entry in entries[:2]] == ["a.png", "b, c.png"]
    assert entries[2].uri.endswith(".png"), "a name that is taken gives way to the digest"
    events = [subjects.resolver(root)(entry.event) for entry in audit.read(root)]
    assert [event["action"] for event in events] == ["admission declared"] * 4
    assert events[0] | {"basis": "consent: a form", "subject": "Jane Doe", "uses": ["train"]} == events[0]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(who=st.text(max_size=30), detail=st.text(max_size=30))
def test_any_words_are_written_and_read_back_or_refused(tmp_path_factory: pytest.TempPathFactory, who: str, detail: str) -> None:
    root = tmp_path_factory.mktemp("lab")
    path = picture(root, "a.png")
    try:
        declared(root, path, who=who, basis=f"consent: {detail}")
    except ConsentError:
        assert not (root / "data_manifests").exists()
        return
    entry = find_entry(root, sha256_file(path))
    assert entry is not None
    assert entry.subject == " ".join(who.split())
    assert entry.manifest.consent.text == " ".join(f"consent: {detail}".split())


@pytest.mark.parametrize(
    ("who", "basis", "uses"),
    [
        ("", "consent: x", ("train",)),
        ("actor:7", "consent: x", ("train",)),
        ("ACTOR:7", "consent: x", ("train",)),
        ("Jane", "consent: x", ()),
        ("Jane", "consent: x", ("everything",)),
        ("Jane", "public domain (NASA)", ("swap-source",)),
        ("Jane", "licence: CC0", ("swap-target",)),
        ("Jane", "synthetic: a GAN", ("train",)),
        ("synthetic", "consent: x", ("train",)),
        ("Jane " * 200, "consent: x", ("train",)),
    ],
)
def test_an_unsound_declaration_writes_nothing(tmp_path: Path, who: str, basis: str, uses: tuple[str, ...]) -> None:
    path = picture(tmp_path, "a.png")
    with pytest.raises(ConsentError):
        declared(tmp_path, path, who=who, basis=basis, uses=uses)
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]


def test_who_has_withdrawn_is_not_declared_anew(tmp_path: Path) -> None:
    put(tmp_path, toml=TOML + "withdrawn = 2026-05-04\n")
    with pytest.raises(ConsentError, match="withdrawn"):
        declared(tmp_path, picture(tmp_path, "new.png"), who="jane doe")
    assert declared(tmp_path, picture(tmp_path, "new.png"), who="John Roe") == "john-roe:2"


# --- manifests as editors, spreadsheets and other systems leave them ---------------------------------------------------------


def test_a_byte_order_mark_capitals_and_a_blank_last_line_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, rows=f"uri,sha256\nclips/a.mp4,{SHA.upper()}\n\n")
    for file in (path, path.with_suffix(".csv")):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    entry = find_entry(tmp_path, SHA)
    assert entry is not None
    assert (entry.sha256, entry.label) == (SHA, "jane:2")


def test_capitals_are_no_second_file(tmp_path: Path) -> None:
    put(tmp_path, rows=f"uri,sha256\na.mp4,{SHA}\nb.mp4,{SHA.upper()}\n")
    with pytest.raises(ManifestError, match="is already in line 2"):
        find_entry(tmp_path, SHA)


def test_hidden_files_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    path = put(tmp_path)
    for suffix in (".toml", ".csv"):
        path.with_name(f"._jane{suffix}").write_bytes(b"\0\5\x16\7\xff\xfe" + SHA.encode())
    assert find_entry(tmp_path, SHA) is not None


@pytest.mark.parametrize("rows", [b"\xff\xfe\0", b"uri;sha256\n", b'uri,sha256\n"half'])
def test_a_faulty_manifest_blocks_its_own_files_only(tmp_path: Path, rows: bytes) -> None:
    put(tmp_path)
    other = put(tmp_path, "other", toml="= nothing")
    other.with_suffix(".csv").write_bytes(rows + b"x.png," + b"cd" * 32)
    assert find_entry(tmp_path, SHA) is not None
    with pytest.raises(ManifestError, match=r"other\.(toml|csv)"):
        find_entry(tmp_path, "cd" * 32)
    file = tmp_path / "new.png"
    file.write_bytes(b"x")
    made = declare(
        tmp_path, path=file, sha256=sha256_file(file), who="New", basis="consent: a form", uses=["train"], source="", today=DAY
    )
    assert made.subject == "New"


def test_a_faulty_manifest_that_may_hold_a_withdrawal_stops_declarations(tmp_path: Path) -> None:
    put(tmp_path, "other", toml=TOML + "withdrawn = 2026-05-31\n= nothing")
    file = tmp_path / "new.png"
    file.write_bytes(b"x")
    with pytest.raises(ManifestError, match="other"):
        declare(
            tmp_path, path=file, sha256=sha256_file(file), who="Jane Doe", basis="consent: x", uses=["train"], source="", today=DAY
        )


def test_one_name_in_two_spellings_is_one_person(tmp_path: Path) -> None:
    composed, decomposed = "Ren\u00e9e Zoe\u0308", "RENE\u0301E ZO\u00cb"
    put(tmp_path, toml=TOML.replace("Jane Doe", composed) + "withdrawn = 2026-05-31\n")
    file = tmp_path / "new.png"
    file.write_bytes(b"x")
    with pytest.raises(ConsentError, match="withdrawn"):
        declare(
            tmp_path, path=file, sha256=sha256_file(file), who=decomposed, basis="consent: x", uses=["train"], source="", today=DAY
        )
    assert [entry.subject for entry in entries_of(tmp_path, decomposed)] == [composed]


def test_a_consent_of_today_stands_wherever_the_lab_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declared where the calendar is a day ahead of UTC (Kiritimati), used in UTC."""
    monkeypatch.setenv("TZ", "Etc/GMT-14")
    time.tzset()
    try:
        declared = consent.utc_today()
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
    put(tmp_path, toml=TOML.replace("2026-05-03", declared.isoformat()))
    entry = find_entry(tmp_path, SHA)
    assert entry is not None
    assert entry.standing(consent.utc_today()) == ""
