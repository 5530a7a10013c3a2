"""Stages in threads: what comes out is what a plain loop gives, however they end."""

import threading
import time
import weakref
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from faceswap_lab.models.stream import stages
from faceswap_lab.models.stream.stages import Stage, overlapped


def double(item: int) -> int:
    return 2 * item


def slow(item: int) -> int:
    time.sleep(0.002 * (item % 3))
    return item + 1


def stages_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("read", "a", "b", "c")]


@pytest.mark.parametrize("under_way", [1, 2, 5])
def test_items_come_in_order_like_those_of_a_loop(under_way: int) -> None:
    spent: dict[str, float] = {}
    found = list(
        overlapped(range(50), [Stage(name="a", work=slow), Stage(name="b", work=double)], under_way=under_way, spent=spent)
    )
    assert found == [2 * (item + 1) for item in range(50)]
    assert set(spent) == {"read", "a", "b"}
    assert spent["a"] > 0.05, "the sleeps are in it"
    assert stages_alive() == []


def test_no_items_and_no_stages() -> None:
    assert list(overlapped([], [Stage(name="a", work=double)])) == []
    assert list(overlapped(range(3), [])) == [0, 1, 2]
    with pytest.raises(ValueError, match="at least 1"):
        next(overlapped([], [], under_way=0))


@pytest.mark.parametrize("under_way", [1, 3])
def test_no_more_items_are_read_than_may_be_under_way(under_way: int) -> None:
    read, finished = 0, 0

    def source() -> Iterator[int]:
        nonlocal read
        for item in range(30):
            read += 1
            # One slot is taken before the item is read; what the caller has asked past is free again.
            assert read - finished <= under_way
            yield item

    for _ in overlapped(source(), [Stage(name="a", work=slow), Stage(name="b", work=slow)], under_way=under_way):
        time.sleep(0.001)
        finished += 1
    assert read == 30


def test_stages_work_at_the_same_time() -> None:
    """Two stages that wait for each other's next item would hang in a plain loop."""
    meeting = threading.Barrier(2)

    def meet(item: int) -> int:
        meeting.wait(timeout=240)
        return item

    # Stage a meets on items 1 to 5, b on 0 to 4: each of b's waits for a's next.
    a = Stage(name="a", work=lambda item: meet(item) if item > 0 else item)
    b = Stage(name="b", work=lambda item: meet(item) if item < 5 else item)
    assert list(overlapped(range(6), [a, b])) == list(range(6))


@pytest.mark.parametrize("error", [RuntimeError("bad frame"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("where", ["read", "a", "c"])
def test_an_error_is_raised_as_itself_after_what_came_before_it(error: BaseException, where: str) -> None:
    def fail(item: int) -> int:
        if item == 7:
            raise error
        return item

    def source() -> Iterator[int]:
        for item in range(1000):
            yield fail(item) if where == "read" else item

    stages = [Stage(name=name, work=fail if where == name else slow0) for name in ("a", "b", "c")]
    found: list[int] = []
    with pytest.raises(type(error)) as raised:
        found.extend(overlapped(source(), stages))
    assert raised.value is error
    assert found == list(range(7))
    assert stages_alive() == []


def slow0(item: int) -> int:
    time.sleep(0.0005)
    return item


def test_a_caller_who_stops_stops_all_and_the_source_is_closed_in_its_thread() -> None:
    closed_by = []

    def source() -> Iterator[int]:
        try:
            yield from range(10_000)
        finally:
            closed_by.append(threading.current_thread().name)

    stream = overlapped(source(), [Stage(name="a", work=slow0), Stage(name="b", work=slow0)])
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    stream.close()  # type: ignore[attr-defined]
    assert stages_alive() == []
    assert closed_by == ["read"]


def test_a_thread_keeps_nothing_of_what_it_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be stopped by the system right after: the item is through by then, and its slot goes to the next one."""
    handed_on, is_free, left = stages._Line.hand_over, Event(), []

    def held_up(line: Any, pipe: int, held: list[Any]) -> None:
        handed_on(line, pipe, held)
        assert is_free.wait(60)

    free_slot = stages._Line.free_slot

    def freed(line: Any) -> None:
        left.append(seen())
        is_free.set()
        free_slot(line)

    class Item:
        pass

    monkeypatch.setattr(stages._Line, "hand_over", held_up)
    monkeypatch.setattr(stages._Line, "free_slot", freed)
    # One thread, the reader's: a stage's would not begin before the reader goes on.
    through = stages.overlapped((Item() for _ in range(2)), [], under_way=2)
    item = next(through)
    seen = weakref.ref(item)
    del item
    next(through)
    assert left == [None]
    through.close()  # type: ignore[attr-defined]  # a generator
