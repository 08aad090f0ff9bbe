import asyncio

from gnn_service.core.clock import SystemClock


def test_the_system_clock_does_not_go_backwards():
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


async def test_sleeping_lets_others_run_and_takes_its_time():
    clock = SystemClock()
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    task = asyncio.create_task(other())
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() > before
    assert ran == ["other"]
    await task
