import asyncio

from stream.clock import Clock
from tests.fakes_clock import FakeClock


async def test_wait_returns_when_the_event_is_set_long_before_the_deadline():
    clock, event = Clock(), asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    async with asyncio.timeout(5):
        await clock.wait(event, clock.now() + 3600)


async def test_wait_returns_at_the_deadline_without_an_event():
    clock = Clock()
    deadline = clock.now() + 0.01
    await clock.wait(asyncio.Event(), deadline)
    assert clock.now() >= deadline - 0.002  # the loop's timers tick in whole milliseconds


async def test_a_passed_deadline_does_not_wait():
    clock = Clock()
    async with asyncio.timeout(5):
        await clock.wait(asyncio.Event(), clock.now() - 1)
        await clock.sleep_until(clock.now() - 1)


async def test_the_fake_clock_wakes_each_sleeper_at_its_own_instant():
    clock, woken = FakeClock(100.0), []

    async def sleeper(delay_s: float) -> None:
        await clock.sleep_until(100.0 + delay_s)
        woken.append(clock.now())

    tasks = [asyncio.create_task(sleeper(delay_s)) for delay_s in (0.3, 0.1, 0.2)]
    await clock.advance(0.25)
    assert woken == [100.1, 100.2]
    await clock.advance(0.25)
    assert woken == [100.1, 100.2, 100.3]
    await asyncio.gather(*tasks)
