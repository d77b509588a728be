#!/usr/bin/env python3
"""Streams beside a long prompt: how much longer their gaps become, and what the prompt loses.

    make_random_llama.py /tmp/llama-64k --layers 1 --hidden 896 --intermediate 4864 --heads 7 \\
        --kv-heads 1 --vocab 65536 --max-positions 66560
    long_prompt.py /tmp/llama-64k [--prompt 65536] [--streams 8] [--binary build/release/bin/tutti]

First the prompt alone, then the streams alone, then both together, all on one server without its
prefix cache. Bars: the 99th percentile of the gaps at most 3 times that without the prompt, and the
prompt's speed at least half of its own.
"""
import argparse
import selectors
import time

from serving import Server


def wait_for_first_token(client):
    begin = time.monotonic()
    while b'"text"' not in client.recv(1 << 16):
        pass
    return time.monotonic() - begin


class Streams:
    """Reads what streams send, and when."""

    def __init__(self, server, count, generate):
        self.selector = selectors.DefaultSelector()
        self.times = [[] for _ in range(count)]
        for i in range(count):
            self.selector.register(server.request([5 + i] * 8, generate), selectors.EVENT_READ, i)

    def read_until(self, is_over):
        """Gaps in seconds, sorted, between events that came while this ran; None when a stream ended."""
        first = [len(times) for times in self.times]
        while not is_over():
            for key, _ in self.selector.select(0.005):
                data = key.fileobj.recv(1 << 16)
                if not data or b"[DONE]" in data:
                    return None
                if b'"text"' in data:
                    self.times[key.data].append(time.monotonic())
        gaps = [b - a for times, i in zip(self.times, first) for a, b in zip(times[i:], times[i + 1:])]
        return sorted(gaps)

    def close(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def percentile(values, share):
    return values[int(share * (len(values) - 1))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--prompt", type=int, default=65536)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10, help="how long the streams are watched alone")
    parser.add_argument("--kv-cache-size", default="1GiB")
    args = parser.parse_args()

    server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size, "--no-prefix-cache")
    try:
        prompt = [100 + i % 1000 for i in range(args.prompt)]
        wait_for_first_token(server.request(prompt[:2048], 1))
        alone = wait_for_first_token(server.request(prompt, 1))

        streams = Streams(server, args.streams, 60000)
        streams.read_until(lambda: all(len(times) > 20 for times in streams.times))
        end = time.monotonic() + args.seconds
        before = streams.read_until(lambda: time.monotonic() > end)

        client = server.request(prompt, 1)
        client.setblocking(False)
        begin = time.monotonic()

        def has_first_token():
            try:
                return b'"text"' in client.recv(1 << 16)
            except BlockingIOError:
                return False

        during = streams.read_until(has_first_token)
        beside = time.monotonic() - begin
        streams.close()
    finally:
        server.stop()
    gap_before, gap_during = percentile(before, 0.99), percentile(during, 0.99)
    print(f"p99 gap of {args.streams} streams: {1000 * gap_before:.1f} ms alone, {1000 * gap_during:.1f} ms beside "
          f"a prompt of {args.prompt} tokens: {gap_during / gap_before:.2f} x (bar: <= 3)")
    print(f"the prompt: {args.prompt / alone:.0f} tokens/s alone, {args.prompt / beside:.0f} beside the streams: "
          f"{alone / beside:.2f} of its speed (bar: >= 0.5)")


if __name__ == "__main__":
    main()
