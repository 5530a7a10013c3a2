"""The line before the device: order, bounds, fairness, and jobs that nobody waits for any more."""

import threading
from collections.abc import Iterator

import pytest

from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.queue import Line, Ticket
from faceswap_lab.serve.refusals import QueueFullError, StoppedError, status_of
from tests.waiting import eventually


class Device:
    """Work that ends when it is let, or told to end, and that sees whether it is ever done twice at once."""

    def __init__(self) -> None:
        self.let, self.began = threading.Event(), threading.Event()
        self.order: list[str] = []
        self.at_once = self.most = 0

    def __call__(self, ticket: Ticket) -> str:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.order.append(ticket.session)
        self.began.set()
        while not self.let.wait(0.01):
            if ticket.gone():
                self.at_once -= 1
                raise StoppedError(expected="a visitor", got="nobody", remedy="begin again")
        self.at_once -= 1
        return f"done for {ticket.session}"


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line(Limits(max_waiting=3, unattended_s=600))
    yield made
    made.close()


def started(line: Line, device: Device, session: str = "first") -> Ticket:
    ticket = line.enter(session, device)
    assert device.began.wait(60)
    return ticket


def ended(ticket: Ticket) -> object:
    assert ticket.wait(60)
    return ticket.result()


def test_jobs_are_done_in_order_one_at_a_time_and_each_gets_its_own_result(line: Line, device: Device) -> None:
    tickets = [started(line, device), *(line.enter(f"visitor {number}", device) for number in range(3))]
    assert [line.before(ticket) for ticket in tickets] == [0, 1, 2, 3]
    device.let.set()
    assert [ended(ticket) for ticket in tickets] == [f"done for {ticket.session}" for ticket in tickets]
    assert device.order == [ticket.session for ticket in tickets]
    assert device.most == 1


def test_the_fourth_that_would_wait_is_told_that_the_queue_is_full_and_nobody_loses_a_place(line: Line, device: Device) -> None:
    tickets = [started(line, device), *(line.enter(f"visitor {number}", device) for number in range(3))]
    with pytest.raises(QueueFullError, match="queue is full") as found:
        line.enter("one too many", device)
    assert status_of(found.value) == 503
    device.let.set()
    assert all(ended(ticket) for ticket in tickets)
    assert ended(line.enter("one too many", device)) == "done for one too many"


def test_a_session_has_one_job_at_a_time(line: Line, device: Device) -> None:
    running = started(line, device)
    with pytest.raises(QueueFullError, match="another one under way"):
        line.enter("first", device)
    waiting = line.enter("second", device)
    with pytest.raises(QueueFullError, match="another one under way"):
        line.check("second")
    device.let.set()
    assert (ended(running), ended(waiting)) == ("done for first", "done for second")
    assert ended(line.enter("first", device)) == "done for first"


def test_a_cancelled_job_that_waits_never_begins_and_gives_up_its_place(line: Line, device: Device) -> None:
    running, dropped = started(line, device), []
    waiting = line.enter("leaves", device, lambda: dropped.append("leaves"))
    line.leave(waiting)
    assert dropped == ["leaves"]
    line.check("leaves")
    with pytest.raises(StoppedError):
        ended(waiting)
    device.let.set()
    assert ended(running)
    assert device.order == ["first"]


def test_a_cancelled_job_that_runs_is_told_and_the_next_one_begins(line: Line, device: Device) -> None:
    running, waiting = started(line, device), line.enter("second", device)
    line.leave(running)
    with pytest.raises(StoppedError):
        ended(running)
    device.let.set()
    assert ended(waiting) == "done for second"


def test_a_job_that_nobody_asks_for_any_more_ends() -> None:
    """A closed browser cancels nothing: it only stops asking."""
    line, device = Line(Limits(unattended_s=0.2)), Device()
    started(line, device)  # and never asked for
    second = line.enter("second", device)
    eventually(lambda: second.wait(0.01) or "second" in device.order)
    device.let.set()
    assert ended(second) == "done for second"
    line.close()


def test_an_error_of_the_work_is_its_own_jobs_alone(line: Line, device: Device) -> None:
    def broken(ticket: Ticket) -> None:
        raise ZeroDivisionError(ticket.session)

    first = line.enter("first", broken)
    with pytest.raises(ZeroDivisionError, match="first"):
        ended(first)
    device.let.set()
    assert ended(line.enter("second", device)) == "done for second"


def test_closing_ends_what_runs_refuses_what_waits_and_lets_nobody_in(device: Device) -> None:
    line, dropped = Line(Limits()), []
    running, waiting = started(line, device), line.enter("second", device, lambda: dropped.append("second"))
    line.close()
    for ticket in (running, waiting):
        with pytest.raises(StoppedError):
            ended(ticket)
    with pytest.raises(StoppedError, match="being stopped"):
        line.enter("third", device)
    assert dropped == ["second"]


def test_twenty_at_once_are_all_served_or_told(device: Device) -> None:
    """Nobody is lost: each of the twenty has a result or the error that the queue is full."""
    line, found = Line(Limits(max_waiting=5, unattended_s=600)), []
    ready = threading.Barrier(20)

    def visit(number: int) -> None:
        ready.wait()
        try:
            found.append(str(ended(line.enter(f"visitor {number}", device))))
        except QueueFullError:
            found.append("full")

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(found) >= 14)  # five wait, one runs
    device.let.set()
    for thread in threads:
        thread.join()
    assert sorted(found)[:6] == sorted(each for each in found if each != "full")
    assert found.count("full") == 14
    assert len(set(found)) == 7
    line.close()
