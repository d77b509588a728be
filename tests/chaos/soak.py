"""soak.py MINUTES PAUSE: see ../soak.sh."""
import asyncio
import os
import pathlib
import random
import statistics
import sys
import time

from conftest import Server, ask, client_of

NUM_CLIENTS = 16
# Before that, caches and allocator arenas fill.
WARM_UP_SHARE = 0.4
TOLERANCE = 0.02


def resident(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def client_loop(client, rng, until, pause, counts):
    while time.monotonic() < until:
        await asyncio.sleep(rng.random() * 2 * pause)
        asking = asyncio.create_task(ask(client, rng.randrange(1000), rng.randrange(1, 80)))
        if rng.random() < 0.1:  # one who leaves
            await asyncio.sleep(rng.random() * 0.2)
            asking.cancel()
            counts["left"] += (await asyncio.gather(asking, return_exceptions=True)) is not None
            continue
        stream = await asking
        assert stream.error is None and stream.done == 1, stream.error
        counts["answered"] += 1


async def watch(server, until):
    samples = []
    while time.monotonic() < until:
        usage = server.usage()
        samples.append({"front": usage["bytes"], "engine": resident(server.engine()),
                        "threads": usage["threads"]})
        await asyncio.sleep(0.5)
    return samples


def check_flat(samples, name):
    """The median of the last third against that of the first third, after the warm-up."""
    values = [sample[name] for sample in samples[int(len(samples) * WARM_UP_SHARE):]]
    third = len(values) // 3
    begin, end = statistics.median(values[:third]), statistics.median(values[-third:])
    growth = end / begin - 1
    print(f"{name}: {begin / 2**20:.1f} MiB, then {end / 2**20:.1f} MiB ({growth:+.2%})")
    return abs(growth) <= TOLERANCE


async def soak(server, minutes, pause):
    rng = random.Random(1)
    until = time.monotonic() + 60 * minutes
    counts = {"answered": 0, "left": 0}
    async with client_of(server) as client:
        watching = asyncio.create_task(watch(server, until))
        await asyncio.gather(
            *(client_loop(client, rng, until, pause, counts) for _ in range(NUM_CLIENTS)))
        samples = await watching
    print(f"{minutes:g} minutes, {counts['answered']} answers, {counts['left']} clients left early")
    server.wait_until(server.idle, 10)
    assert len({sample["threads"] for sample in samples}) == 1, "threads come or go"
    return all([check_flat(samples, "front"), check_flat(samples, "engine")])


def main():
    # A cache that is soon full, so that it does not look like growth.
    server = Server("--kv-cache-size", "16MiB", "--max-model-len", "1024")
    try:
        is_flat = asyncio.run(soak(server, float(sys.argv[1]), float(sys.argv[2])))
    finally:
        server.stop()
    sys.exit(0 if is_flat else "memory is not flat")


if __name__ == "__main__":
    main()
