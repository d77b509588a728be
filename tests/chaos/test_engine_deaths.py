"""32 clients stream while their engine is killed, crashed, frozen and stuck: every stream is what it
is alone, to the last bit of its log-probabilities."""
import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import Server, alone, ask, client_of

NUM_CLIENTS = 32


async def crowd(server, count=NUM_CLIENTS, tokens=60, **options):
    async with client_of(server) as client:
        return await asyncio.gather(*(ask(client, i, tokens, **options) for i in range(count)))


async def wait_for_engine(server, other_than, seconds=20):
    begin = time.monotonic()
    while server.engine() in (None, other_than):
        assert time.monotonic() - begin < seconds, "no new engine"
        await asyncio.sleep(0.01)


async def test_killed_twenty_times(server, rng):
    expected = await alone(server, NUM_CLIENTS)
    before = server.metric("tutti_engine_restarts_total")
    deaths = 0

    came = asyncio.Event()

    # At any moment of a life that streams; now and then one that has not come so far.
    async def killer():
        nonlocal deaths
        while deaths < 20:
            if rng.random() < 0.8:
                came.clear()
                await came.wait()
            await asyncio.sleep(rng.uniform(0.02, 0.4))
            deaths += server.signal_engine()

    killing = asyncio.create_task(killer())
    rounds = 0
    while not killing.done() or rounds == 0:
        streams = await crowd(server, on_line=lambda _: came.set())
        assert [stream.error for stream in streams] == [None] * NUM_CLIENTS
        assert [stream.said() for stream in streams] == expected
        rounds += 1
    await killing
    server.wait_until(lambda: server.metric("tutti_engine_restarts_total") - before >= 10, 10)
    server.wait_until(server.idle, 10)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_crashes_once(server, number):
    """A crash of its own making once: the suspects are run alone, and all of them go on."""
    expected = await alone(server, 8)
    started = asyncio.Event()
    crowding = asyncio.create_task(crowd(server, 8, on_line=lambda _: started.set()))
    await started.wait()
    assert server.signal_engine(number)
    streams = await crowding
    assert [stream.said() for stream in streams] == expected
    reports = [path.read_text() for path in server.crashes.iterdir()]
    assert len(reports) == 1
    assert signal.Signals(number).name in reports[0] and "stack:" in reports[0]


async def test_frozen(server):
    """SIGSTOP: noticed within 5 s, and the streams go on."""
    expected = await alone(server, 8, 200)
    started = asyncio.Event()
    crowding = asyncio.create_task(crowd(server, 8, 200, on_line=lambda _: started.set()))
    await started.wait()
    pid = server.engine()
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    await wait_for_engine(server, other_than=pid)
    assert time.monotonic() - begin < 15  # 5 s where nothing else runs
    streams = await crowding
    assert [stream.said() for stream in streams] == expected


# Stops one thread of another process by ptrace, says whether that is permitted, and lets it go when
# it is dead: a tracer keeps its tracee from being gone before.
TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
stopped = libc.ptrace(SEIZE, thread, None, None) == 0 and libc.ptrace(INTERRUPT, thread, None, None) == 0
print("stopped" if stopped else "forbidden", flush=True)
while stopped:
    _, status = os.waitpid(thread, WALL)
    stopped = not (os.WIFEXITED(status) or os.WIFSIGNALED(status))
"""


def stop_thread(pid, name):
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (thread / "comm").read_text().strip() == name:
            tracer = subprocess.Popen([sys.executable, "-c", TRACER, thread.name],
                                      stdout=subprocess.PIPE, text=True)
            return tracer.stdout.readline() == "stopped\n"
    raise AssertionError(f"no thread {name}")


async def test_stuck_in_a_step(server):
    """One thread hangs while the process lives: noticed within 5 s by the work that does not get on."""
    expected = await alone(server, 8, 200)
    started = asyncio.Event()
    crowding = asyncio.create_task(crowd(server, 8, 200, on_line=lambda _: started.set()))
    await started.wait()
    pid = server.engine()
    if not stop_thread(pid, "tutti-engine"):
        await crowding
        pytest.skip("ptrace is not permitted")
    begin = time.monotonic()
    await wait_for_engine(server, other_than=pid, seconds=60)
    assert time.monotonic() - begin < 15  # 5 s and half a one for its report where nothing else runs
    streams = await crowding
    assert [stream.said() for stream in streams] == expected


async def test_while_it_is_down(server):
    """/ready says so, what is sent is answered by the next engine, and a client that goes is gone."""
    pid = server.engine()
    os.kill(pid, signal.SIGSTOP)
    async with client_of(server) as client:
        asking = [asyncio.create_task(ask(client, i)) for i in range(4)]
        gone = asyncio.create_task(ask(client, 5, 2000))
        await asyncio.sleep(0.2)
        gone.cancel()
        os.kill(pid, signal.SIGKILL)
        was_down = False
        for _ in range(200):
            reply = await client.get("/ready")
            was_down |= reply.status_code == 503
            if was_down and reply.status_code == 200:
                break
            await asyncio.sleep(0.01)
        assert was_down and reply.status_code == 200
        for stream in await asyncio.gather(*asking):
            assert stream.error is None and stream.done == 1
    server.wait_until(server.idle, 10)


async def test_an_engine_that_cannot_start_is_said_to_be_down(server):
    """Killed as soon as it is there, again and again: new requests are refused with 503 and
    Retry-After, and once it is left alone it serves again."""
    async def deny():
        while True:
            server.signal_engine()
            await asyncio.sleep(0.01)

    denying = asyncio.create_task(deny())
    async with client_of(server) as client:
        async def refused():
            request = {"model": "demo", "prompt": "x", "max_tokens": 1}
            reply = await client.post("/v1/completions", json=request)
            return reply if reply.status_code == 503 else None
        begin = time.monotonic()
        reply = None
        while not reply:
            assert time.monotonic() - begin < 60
            reply = await refused()
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await client.get("/ready")).status_code == 503
        denying.cancel()
        begin = time.monotonic()
        while (await client.get("/ready")).status_code != 200:
            assert time.monotonic() - begin < 40
            await asyncio.sleep(0.1)
        assert (await ask(client, 0)).error is None


def runs(pid):
    return pathlib.Path(f"/proc/{pid}").exists() and "Z" not in (
        pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0])


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_leaves_no_orphan(tmp_path, number, stopped):
    """The engine ends with its front, even a front that is killed and an engine that is stopped."""
    server = Server("--crash-dir", tmp_path)
    pid = server.engine()
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    server.process.send_signal(number)
    server.process.wait(timeout=30)
    begin = time.monotonic()
    while runs(pid):
        assert time.monotonic() - begin < 5, "the engine outlives its front"
        time.sleep(0.01)
