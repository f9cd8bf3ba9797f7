import threading
import time

import pytest

from nas.dashboard.rested import Rested, Shelf


def test_a_value_is_made_from_the_one_before_once_it_has_rested() -> None:
    rested: Rested[int] = Rested(lambda before: (before or 0) + 1, least_s=0.05)
    assert (rested.value, rested.is_due) == (None, True)
    assert (rested.get(), rested.get(), rested.is_due) == (1, 1, False)
    time.sleep(0.06)
    assert (rested.is_due, rested.get()) == (True, 2)


def test_long_work_is_followed_by_a_longer_rest() -> None:
    def slow(_: int | None) -> int:
        time.sleep(0.05)
        return 1

    rested = Rested(slow, least_s=0.0, rest=4.0)
    rested.get()
    time.sleep(0.1)
    assert not rested.is_due
    time.sleep(0.15)
    assert rested.is_due


def test_many_who_ask_at_once_cost_one_making() -> None:
    made = []

    def slow(_: int | None) -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    rested, found = Rested(slow), []
    threads = [threading.Thread(target=lambda: found.append(rested.get())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, made) == ([1] * 20, [1])


def test_what_fails_is_tried_again() -> None:
    def fail(_: int | None) -> int:
        raise ValueError

    rested = Rested(fail)
    for _ in range(2):
        with pytest.raises(ValueError):
            rested.get()


def test_a_shelf_keeps_what_was_asked_for_last() -> None:
    shelf: Shelf[str, int] = Shelf(2)
    first = shelf.get("a", lambda: Rested(lambda _: 1))
    shelf.get("b", lambda: Rested(lambda _: 2))
    assert shelf.get("a", lambda: Rested(lambda _: 3)) is first
    shelf.get("c", lambda: Rested(lambda _: 4))
    assert shelf.get("b", lambda: Rested(lambda _: 5)).get() == 5
