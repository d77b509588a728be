"""Two models in one server, whose engines share the cores: what becomes of one does not harm the other."""
import asyncio
import os
import signal
import time

import pytest

from conftest import Server, ask, client_of

NUM_CLIENTS = 4
# The other's longest silence: steps of both in turn take milliseconds, a frozen engine 5 s to be found.
LONGEST_SILENCE = 2.0


@pytest.fixture
def pair(tmp_path):
    running = Server("demo", "demo", "--served-model-name", "first,second", "--kv-cache-size", "64MiB",
                     "--crash-dir", tmp_path / "crashes")
    yield running
    assert running.stop() == 0


async def crowd(client, model, tokens, times=None):
    on_line = None if times is None else lambda _: times.append(time.monotonic())
    return await asyncio.gather(*(ask(client, i, tokens, on_line=on_line, model=model)
                                  for i in range(NUM_CLIENTS)))


async def said_alone(client, model, tokens):
    streams = [await ask(client, i, tokens, model=model) for i in range(NUM_CLIENTS)]
    assert [stream.error for stream in streams] == [None] * NUM_CLIENTS
    return [stream.said() for stream in streams]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_neighbour_goes_on(pair, number):
    """One engine dies or freezes while both stream: the other's streams hardly pause, and all streams
    are what they are alone."""
    tokens = 200
    async with client_of(pair) as client:
        expected = {model: await said_alone(client, model, tokens) for model in ("first", "second")}
        first_times, second_times = [], []

        async def second_until_first_is_back():
            while not first.done():
                assert [s.said() for s in await crowd(client, "second", tokens, second_times)] == \
                    expected["second"]

        first = asyncio.create_task(crowd(client, "first", tokens, first_times))
        second = asyncio.create_task(second_until_first_is_back())
        while not first_times or not second_times:
            await asyncio.sleep(0.001)
        os.kill(pair.engines()[0], number)
        streams = await first
        await second
    assert [stream.error for stream in streams] == [None] * NUM_CLIENTS
    assert [stream.said() for stream in streams] == expected["first"]
    restarts = {k: v for k, v in pair.metrics().items() if "engine_restarts_total" in k}
    assert sorted(restarts.values()) == [0, 1], restarts
    silence = max(b - a for a, b in zip(second_times, second_times[1:]))
    assert silence < LONGEST_SILENCE
