import asyncio

from stream.subscription import Subscription


def made(size: int = 3) -> tuple[Subscription, list]:
    closed = []
    return Subscription(size, closed.append), closed


async def test_items_come_in_order_and_a_reader_waits_for_more():
    subscription, _ = made()
    subscription.put(1)
    assert await anext(subscription) == 1
    reading = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    assert not reading.done()
    subscription.put(2)
    assert await reading == 2


async def test_overflow_drops_the_oldest_and_counts_it():
    subscription, _ = made(3)
    for item in range(5):
        subscription.put(item)
    subscription.end()
    assert [item async for item in subscription] == [2, 3, 4]
    assert subscription.dropped == 2


async def test_the_end_wakes_a_waiting_reader():
    subscription, _ = made()
    reading = asyncio.create_task(asyncio.wait_for(anext(subscription, "over"), 5))
    await asyncio.sleep(0)
    subscription.end()
    assert await reading == "over"


async def test_closing_stops_at_once_and_tells_the_sender():
    subscription, closed = made()
    subscription.put(1)
    subscription.close()
    subscription.put(2)
    assert [item async for item in subscription] == []
    assert closed == [subscription]
