import pytest

from stream.manager import ServerFull, Sessions, UnknownCharacter
from stream.metrics import Metrics
from tests.fakes_clock import FakeClock
from tests.fakes_pool import DelayPool
from tests.test_session import Hub


class House:
    def __init__(self, **options) -> None:
        self.clock = FakeClock()
        self.pool = DelayPool(self.clock)
        self.sessions = Sessions(self.pool, metrics=Metrics(), make_encoders=Hub, clock=self.clock, **options)


async def test_sessions_have_ids_that_nobody_can_guess_and_can_be_found_by_them():
    house = House()
    one, other = house.sessions.create("ada"), house.sessions.create("bo")
    assert len(one.id) >= 16
    assert one.id != other.id
    assert house.sessions.get(one.id) is one
    with pytest.raises(KeyError):
        house.sessions.get("nobody")
    await house.sessions.drain()


async def test_without_a_name_the_first_character_comes():
    house = House()
    assert house.sessions.create().character == "ada"
    await house.sessions.drain()


async def test_an_unknown_character_is_refused_and_told_who_there_is():
    house = House()
    with pytest.raises(UnknownCharacter, match="ada, bo"):
        house.sessions.create("eve")
    assert len(house.sessions) == 0


@pytest.mark.parametrize(("places", "most", "fit"), [(3, None, 3), (3, 2, 2), (2, 5, 2)])
async def test_a_full_server_says_when_to_come_back_and_has_room_again_after_a_close(places, most, fit):
    house = House(max_sessions=most)
    house.pool.places = places
    made = [house.sessions.create() for _ in range(fit)]
    with pytest.raises(ServerFull) as full:
        house.sessions.create()
    assert full.value.retry_after_s > 0
    assert house.sessions.capacity() == fit
    await house.sessions.close(made[0].id)
    assert house.sessions.create()
    await house.sessions.drain()


async def test_drain_ends_all_sessions_and_takes_no_new_one():
    house = House()
    session = house.sessions.create()
    events = session.events()
    await house.sessions.drain()
    assert [event.reason async for event in events] == ["server is shutting down"]
    assert len(house.sessions) == 0
    assert house.pool.open_now == set()
    with pytest.raises(ServerFull):
        house.sessions.create()


async def test_a_session_that_expires_makes_room_by_itself():
    house = House(session_idle_s=3.0)
    house.sessions.create()
    await house.clock.advance(3.1)
    assert len(house.sessions) == 0


async def test_closing_an_unknown_session_is_no_error():
    await House().sessions.close("nobody")


async def test_pictures_go_to_the_session_they_were_made_for():
    house = House()
    ada, bo = house.sessions.create("ada"), house.sessions.create("bo")
    await house.clock.advance(2.0)
    assert ada.encoders.ticks[-1].frame[40, 40, 0] == 0
    assert bo.encoders.ticks[-1].frame[40, 40, 0] == 1
    await house.sessions.drain()


async def test_pictures_for_nobody_are_ignored():
    house = House()
    house.pool.on_chunk(99, 0, None, {})


async def test_a_session_that_the_model_fails_on_ends_and_says_so():
    house = House()
    ill, well = house.sessions.create("ada"), house.sessions.create("bo")
    events = ill.events()
    house.pool.on_failed(ill.key, "no such tensor")
    await house.clock.advance(0.1)
    assert ["model failed" in event.reason async for event in events] == [True]
    assert len(house.sessions) == 1 and house.sessions.get(well.id) is well
    await house.sessions.drain()
