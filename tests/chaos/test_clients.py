"""Clients that misbehave: slow readers, resets in every phase, a cache that is full. What they held
comes back: blocks, descriptors, threads, memory."""
import asyncio
import concurrent.futures
import json
import socket
import struct

import pytest

from conftest import Server, alone, ask, body, client_of

# The front's own: allocator arenas and connection pools settle at a little above the start.
MAX_GROWTH_BYTES = 24 << 20
NUM_CLIENTS = 32


@pytest.fixture
def small_server(tmp_path):
    """A cache for two long sequences and a queue."""
    running = Server("--crash-dir", tmp_path, "--max-model-len", "512", "--kv-cache-size", "4MiB",
                     "--max-waiting", "128")
    yield running
    assert running.alive(), "the front died:\n" + "".join(running.log[-50:])
    assert running.stop() == 0


async def test_pool_at_its_limit_with_slow_readers_and_deaths(small_server, rng):
    server = small_server
    count = 24
    expected = await alone(server, count)

    async def killer():
        for _ in range(4):
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            server.signal_engine()

    async with client_of(server) as client:
        killing = asyncio.create_task(killer())
        streams = await asyncio.gather(*(ask(client, i, pause=0.01 * (i % 3)) for i in range(count)))
        await killing
    for stream, said in zip(streams, expected):
        assert stream.error is None and stream.said() == said
    server.wait_until(server.idle, 10)


def raw_request(request):
    content = json.dumps(request).encode()
    return (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(content) + content)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def in_header(connection):
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: local")


def in_body(connection):
    connection.sendall(raw_request(body(1))[:-20])


def in_queue_or_prefill(connection):
    connection.sendall(raw_request({**body(2), "prompt": [7] * 400}))


def in_decode(connection):
    connection.sendall(raw_request(body(3, 100)))
    connection.recv(1024)


def blocked_sink(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.sendall(raw_request({**body(4, 400), "logprobs": 5}))
    connection.recv(1)


def idle(connection):
    connection.sendall(raw_request({"model": "demo", "prompt": "x", "max_tokens": 1}))
    connection.recv(1)


PHASES = [in_header, in_body, in_queue_or_prefill, in_decode, blocked_sink, idle]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_thousand_resets(server, phase):
    def one():
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        phase(connection)
        reset(connection)

    def settled():
        return server.idle() and server.usage()["files"] <= before["files"]

    def many(count):
        with concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
            for _ in pool.map(lambda _: one(), range(count)):
                pass

    many(4 * NUM_CLIENTS)  # what is allocated once
    server.wait_until(server.idle, 60)
    before = server.usage()
    many(1000)
    server.wait_until(settled, 60)
    after = server.usage()
    assert after["threads"] == before["threads"]
    assert after["bytes"] - before["bytes"] < MAX_GROWTH_BYTES


async def test_everything_comes_back(server, rng):
    """Rounds of clients, some of which leave, and deaths of the engine: the front is as it was."""
    async def one(client, i):
        asking = asyncio.create_task(ask(client, i))
        if i % 3 == 0:
            await asyncio.sleep(rng.uniform(0, 0.3))
            asking.cancel()
        return (await asyncio.gather(asking, return_exceptions=True))[0]

    async def round_of_clients():
        async with client_of(server) as client:
            asking = asyncio.gather(*(one(client, i) for i in range(NUM_CLIENTS)))
            await asyncio.sleep(rng.uniform(0.05, 0.3))
            server.signal_engine()
            await asking
        server.wait_until(server.idle, 20)

    for _ in range(2):
        await round_of_clients()
    before = server.usage()
    for _ in range(6):
        await round_of_clients()
    server.wait_until(lambda: server.usage()["files"] <= before["files"], 10)
    after = server.usage()
    assert after["threads"] == before["threads"]
    assert after["bytes"] - before["bytes"] < MAX_GROWTH_BYTES
