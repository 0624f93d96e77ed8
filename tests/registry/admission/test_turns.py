"""Publishers take turns."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cogen_registry.admission.turns import Turns
from cogen_registry.errors import Refused


def test_one_after_the_other_round_the_publishers() -> None:
    """Publisher 1 has ten uploads there first; those of 2 and 3 don't wait behind them."""
    order: list[tuple[int, int]] = []
    running = most = 0

    async def work(turns: Turns, publisher: int, number: int) -> None:
        nonlocal running, most
        async with turns.turn(publisher):  # no thread: the order of threads that start together is the kernel's
            order.append((publisher, number))
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def main() -> None:
        turns = Turns(2, 16, 100)
        async with turns.turn(1), turns.turn(9):  # all places are taken
            jobs = [asyncio.create_task(work(turns, 1, number)) for number in range(10)]
            await asyncio.sleep(0)
            jobs += [asyncio.create_task(work(turns, who, number)) for who in (2, 3) for number in range(2)]
            await asyncio.sleep(0)
        await asyncio.gather(*jobs)

    asyncio.run(main())
    assert len(order) == 14
    assert most <= 2
    assert {who for who, _ in order[:6]} == {1, 2, 3}
    assert max(order.index((who, 1)) for who in (2, 3)) < 8
    assert [number for who, number in order if who == 1] == list(range(10))


def test_no_more_threads_than_places() -> None:
    running = most = 0
    lock = threading.Lock()
    met = threading.Barrier(2, timeout=20)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        met.wait()  # two at a time, or this never ends
        with lock:
            running -= 1

    async def main() -> None:
        turns = Turns(2, 16, 100)
        await asyncio.gather(*[turns.run(who, work) for who in (1, 2) for _ in range(4)])

    asyncio.run(main())
    assert most == 2


def test_one_publisher_never_has_all_places() -> None:
    async def main() -> int:
        turns = Turns(4, 16, 100)
        free = threading.Event()
        begun = threading.Semaphore(0)

        def hold() -> None:
            begun.release()
            free.wait(20)

        jobs = [asyncio.create_task(turns.run(1, hold)) for _ in range(8)]
        await asyncio.to_thread(begun.acquire, timeout=20)
        await asyncio.to_thread(begun.acquire, timeout=20)
        other = await turns.run(2, lambda: 7)
        free.set()
        await asyncio.gather(*jobs)
        return other

    assert asyncio.run(main()) == 7


def test_too_many_are_told_to_come_later() -> None:
    async def main() -> list[Refused]:
        turns = Turns(1, 2, 3)
        async with turns.turn(1):
            jobs = [asyncio.create_task(turns.run(who, str)) for who in (1, 1, 1, 2, 3)]
            await asyncio.sleep(0)
        return [one for one in await asyncio.gather(*jobs, return_exceptions=True) if isinstance(one, Refused)]

    refused = asyncio.run(main())
    assert [one.status for one in refused] == [429, 503]
    assert all(one.hint and one.headers["Retry-After"] for one in refused)


def test_who_gives_up_leaves_no_place_taken() -> None:
    async def main() -> str:
        turns = Turns(1, 5, 5)
        async with turns.turn(1):
            jobs = [asyncio.create_task(turns.run(2, str)) for _ in range(4)]
            await asyncio.sleep(0)
            for job in jobs[:3]:
                job.cancel()
            await asyncio.sleep(0)
        jobs[3].cancel()  # at the moment that it has its turn
        with pytest.raises(asyncio.CancelledError):
            await jobs[3]
        return await turns.run(3, lambda: "done")

    assert asyncio.run(asyncio.wait_for(main(), 20)) == "done"
