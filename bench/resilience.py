#!/usr/bin/env python3
"""What the engine's own process costs, and how soon it is back.

    resilience.py MODEL [--binary build/release/bin/tutti] [--rounds 5] [--only channel,restart,queue]

channel  tokens a second of 32 streams through the server and its engine process, against the engine
         in the bench's own process (bar: >= 97 %).
restart  the engine is killed while a stream runs: seconds until the stream's next token. The model's
         file is warm then, since the server has just read it (bars: 1 s for the demo, 3 s for 1B).
queue    64 sequences run and 512 wait: CPU time of the front (bar: <= 20 % of a core).

Medians of the rounds. Only the standard library. Client and server share the machine.
"""
import argparse
import os
import pathlib
import selectors
import signal
import statistics
import time

from serving import Server, engine_tokens_per_second


def engine_of(server):
    """The engine's process id, or None while there is none."""
    for thread in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            try:
                command = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[1:2] == [b"engine"]:
                return int(child)
    return None


def measure_channel(args):
    engine, served = [], []
    for _ in range(args.rounds):
        engine.append(engine_tokens_per_second(args.binary, args.model, 32, args.generate))
        server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size)
        try:
            server.tokens_per_second(32, 4)
            served.append(server.tokens_per_second(32, args.generate)[0])
        finally:
            server.stop()
    ratios = [s / e for s, e in zip(served, engine)]
    print(f"channel, 32 streams: {statistics.median(served):.1f} tokens/s through the server, "
          f"{statistics.median(engine):.1f} in process: {100 * statistics.median(ratios):.0f} % "
          f"({100 * min(ratios):.0f}-{100 * max(ratios):.0f} %; bar: >= 97 %)")


def measure_restart(args):
    server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size)
    seconds = []
    try:
        for _ in range(args.rounds):
            client = server.request([5] * 8, 2000)
            received = 0
            while received < 5:
                received += client.recv(1 << 16).count(b'"text"')
            os.kill(engine_of(server), signal.SIGKILL)
            killed_at = time.monotonic()
            # What was sent before the kill is still to be read.
            client.settimeout(0.05)
            try:
                while time.monotonic() - killed_at < 0.1:
                    client.recv(1 << 16)
            except TimeoutError:
                pass
            client.settimeout(60)
            while b'"text"' not in client.recv(1 << 16):
                pass
            seconds.append(time.monotonic() - killed_at)
            client.close()
            time.sleep(0.5)
    finally:
        server.stop()
    print(f"killed to the stream's next token: {statistics.median(seconds):.2f} s "
          f"({min(seconds):.2f}-{max(seconds):.2f} s; bars: 1 s for the demo, 3 s for 1B)")


def measure_queue(args):
    server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size, "--max-running", "64",
                    "--max-waiting", "1024")
    selector = selectors.DefaultSelector()
    try:
        for i in range(64 + 512):
            selector.register(server.request([5 + i % 90] * 8, 4000), selectors.EVENT_READ)
        started = set()
        while len(started) < 64:
            for key, _ in selector.select():
                if b'"text"' in key.fileobj.recv(1 << 16):
                    started.add(key.fd)
        begin, before = time.monotonic(), server.thread_seconds()
        num_tokens = 0
        while time.monotonic() - begin < args.seconds:
            for key, _ in selector.select(0.1):
                num_tokens += key.fileobj.recv(1 << 16).count(b'"text"')
        elapsed, after = time.monotonic() - begin, server.thread_seconds()
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()
        server.stop()
    used = (sum(after.values()) - sum(before.values())) / elapsed
    print(f"front with 64 running and 512 waiting: {100 * used:.1f} % of a core at "
          f"{num_tokens / elapsed:.0f} tokens/s (bar: <= 20 %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--kv-cache-size", default="1GiB")
    parser.add_argument("--only", default="channel,restart,queue")
    args = parser.parse_args()
    for name, measure in (("channel", measure_channel), ("restart", measure_restart), ("queue", measure_queue)):
        if name in args.only.split(","):
            measure(args)


if __name__ == "__main__":
    main()
