"""Who may come in: hashes on disk, locks after wrong passwords, bounded memory, and no door without a login."""

from pathlib import Path
from unittest import mock

import pytest

from faceswap_lab.errors import LabError
from faceswap_lab.serve import login
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.login import Hashed, Logins, add_user, one_user, read_users, require_login, user_line
from faceswap_lab.serve.refusals import LockedError, status_of
from tests.waiting import Clock


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_N", 16)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> Logins:
    return Logins({"ann": Hashed.of("right"), "bob": Hashed.of("other")}, Limits(), clock=clock)


def wrong(logins: Logins, name: str, address: str, times: int = 10) -> None:
    for _ in range(times):
        assert not logins.check(name, "wrong", address)


# --- the file ---------------------------------------------------------------------------------------------------------------


def test_users_are_kept_as_salted_hashes_that_only_their_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "ann", "a pass:word é")
    add_user(path, "bob", "a pass:word é")
    text = path.read_text()
    assert "pass:word" not in text
    first, second = text.splitlines()
    assert first.split(":")[5:] != second.split(":")[5:]
    assert path.stat().st_mode & 0o777 == 0o600
    users = read_users(path)
    assert users["ann"].fits("a pass:word é")
    assert not users["ann"].fits("a pass:word e")
    add_user(path, "ann", "new")
    assert read_users(path)["ann"].fits("new")
    assert read_users(path)["bob"].fits("a pass:word é")


def test_the_hash_is_the_standard_one() -> None:
    """RFC 7914, section 12: scrypt of "pleaseletmein" with the salt "SodiumChloride"."""
    found = login._scrypt("pleaseletmein", b"SodiumChloride", 16384, 8, 1)
    assert found.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "ann", "right")
    path.chmod(0o640)
    with pytest.raises(LabError, match="chmod 600"):
        read_users(path)


@pytest.mark.parametrize(
    "line", ["ann:right", "ann:md5:1:1:1:AA==:AA==", "ann:scrypt:1073741824:8:1:AAAA:AAAA", "ann:scrypt:x:8:1:A:A"]
)
def test_another_kind_of_line_is_refused_and_never_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"{user_line('bob', 'right')}\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(LabError, match="line 2") as found:
        read_users(path)
    assert "ann" not in str(found.value)


def test_a_file_without_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody yet\n\n")
    (tmp_path / "users").chmod(0o600)
    with pytest.raises(LabError, match="--add-user"):
        read_users(tmp_path / "users")


@pytest.mark.parametrize("name", ["", "a:b", " ann", "a\nb", "x" * 101])
def test_a_name_that_a_line_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        user_line(name, "right")


def test_a_password_for_one_start_is_new_each_time() -> None:
    users, name, password = one_user()
    assert users[name].fits(password)
    assert password not in repr(users)
    assert one_user()[2] != password


# --- locks ------------------------------------------------------------------------------------------------------------------


def test_the_right_password_of_the_right_name_lets_in(logins: Logins) -> None:
    assert logins.check("ann", "right", "1.1.1.1")
    for name, password in (("ann", "other"), ("bob", "right"), ("eve", "right"), ("ann", ""), ("", "right"), ("ann", "r\ud800")):
        assert not logins.check(name, password, "1.1.1.1")


def test_ten_wrong_passwords_lock_name_and_address_for_a_time_that_grows(logins: Logins, clock: Clock) -> None:
    wrong(logins, "ann", "1.1.1.1")
    for name, address in (("ann", "1.1.1.1"), ("ann", "2.2.2.2"), ("bob", "1.1.1.1")):
        with pytest.raises(LockedError, match="wait 30 s") as found:
            logins.check(name, "right", address)
        assert status_of(found.value) == 429
    assert logins.check("bob", "other", "2.2.2.2")
    clock.now = 31
    wrong(logins, "ann", "1.1.1.1")
    with pytest.raises(LockedError, match="wait 60 s"):
        logins.check("ann", "right", "1.1.1.1")
    for _ in range(20):
        clock.now += 3601
        wrong(logins, "ann", "1.1.1.1")
    with pytest.raises(LockedError, match="wait 3600 s"):
        logins.check("ann", "right", "1.1.1.1")
    clock.now += 3601
    assert logins.check("ann", "right", "1.1.1.1")


def test_a_locked_password_is_not_even_looked_at(logins: Logins) -> None:
    wrong(logins, "ann", "1.1.1.1")
    with mock.patch.object(login, "_scrypt", side_effect=AssertionError), pytest.raises(LockedError):
        logins.check("ann", "right", "1.1.1.1")


def test_nobody_can_lock_a_user_out_of_where_they_came_in_before(logins: Logins) -> None:
    assert logins.check("ann", "right", "1.1.1.1")
    wrong(logins, "ann", "6.6.6.6")
    assert logins.check("ann", "right", "1.1.1.1")
    with pytest.raises(LockedError):
        logins.check("ann", "right", "3.3.3.3")


def test_many_names_from_one_address_lock_it(logins: Logins) -> None:
    for number in range(10):
        assert not logins.check(f"user {number}", "guess", "6.6.6.6")
    with pytest.raises(LockedError):
        logins.check("ann", "right", "6.6.6.6")
    assert logins.check("ann", "right", "1.1.1.1")


def test_nine_wrong_ones_and_the_right_one_start_the_count_anew(logins: Logins) -> None:
    for _ in range(3):
        wrong(logins, "ann", "1.1.1.1", 9)
        assert logins.check("ann", "right", "1.1.1.1")


def test_memory_is_bounded(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_MAX_KNOWN", 50)
    for number in range(300):
        logins.check(f"user {number}", "guess", f"address {number}")
    assert len(logins._wrong) == 50


def test_a_name_that_nobody_has_costs_as_much_as_one_that_somebody_has(logins: Logins) -> None:
    for name in ("ann", "eve"):
        with mock.patch.object(login, "_scrypt", wraps=login._scrypt) as asked:
            logins.check(name, "guess", "1.1.1.1")
        assert asked.call_count == 1


# --- in front of Gradio -----------------------------------------------------------------------------------------------------


def test_there_is_no_demo_without_a_login_that_others_can_reach() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"):
        require_login(host, login=False, share=False)
    for host, share in (("0.0.0.0", False), ("192.168.1.5", False), ("::", False), ("example.org", False), ("127.0.0.1", True)):
        require_login(host, login=True, share=share)
        with pytest.raises(LabError, match="leave it out"):
            require_login(host, login=False, share=share)
