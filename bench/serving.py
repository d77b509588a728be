#!/usr/bin/env python3
"""What serving costs: the server against the engine alone, idle connections, memory, start.

    serving.py MODEL [--binary build/release/bin/tutti] [--rounds 5] [--generate 64]

Only the standard library, and as little work a token as possible, since client and server share the
machine. Engine and server are measured in turn; figures are medians over the rounds.
"""
import argparse
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import threading
import time


class Server:
    def __init__(self, binary, model, *arguments):
        begin = time.monotonic()
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", "--log-level", "warn",
                                         *arguments], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.search(r"ready: http://[^:]+:(\d+)", line):
                self.port = int(found.group(1))
                break
        self.seconds_to_ready = time.monotonic() - begin
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return {k: int(fields[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon", "RssFile")}

    def thread_seconds(self):
        """CPU seconds by thread name."""
        seconds = {}
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/stat") as stat:
                text = stat.read()
            name = text[text.index("(") + 1:text.rindex(")")]
            fields = text[text.rindex(")") + 2:].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            seconds[name] = seconds.get(name, 0) + used
        return seconds

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))

    def request(self, prompt_tokens, generate):
        body = json.dumps({"prompt": prompt_tokens, "max_tokens": generate, "temperature": 0,
                           "ignore_eos": True, "stream": True}).encode()
        client = self.connect()
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                       b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return client

    def tokens_per_second(self, streams, generate):
        """Events per second while all streams decode, and the CPU seconds of each thread a second."""
        selector = selectors.DefaultSelector()
        times = []
        for i in range(streams):
            selector.register(self.request([5 + i] * 8, generate + 1), selectors.EVENT_READ, i)
            times.append([])
        before = None
        open_streams = streams
        while open_streams:
            for key, _ in selector.select():
                data = key.fileobj.recv(1 << 16)
                now = time.monotonic()
                times[key.data] += [now] * data.count(b'"text"')
                if before is None and all(times):
                    before = (now, self.thread_seconds())
                if not data or b"[DONE]" in data:
                    if open_streams == streams:
                        after = (now, self.thread_seconds())
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    open_streams -= 1
        begin, end = max(t[0] for t in times), min(t[-2] for t in times)
        count = sum(sum(begin < t <= end for t in stream) for stream in times)
        elapsed = after[0] - before[0]
        cpu = {name: (used - before[1].get(name, 0)) / elapsed for name, used in after[1].items()}
        return count / (end - begin), cpu


def engine_tokens_per_second(binary, model, streams, generate):
    done = subprocess.run([binary, "bench", model, "--prompt", "32", "--generate", str(generate), "--batch",
                           str(streams), "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)["decode"][0]["decode_tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--kv-cache-size", default="1GiB")
    args = parser.parse_args()

    engine, served, front = [], [], []
    for _ in range(args.rounds):
        engine.append(engine_tokens_per_second(args.binary, args.model, args.streams, args.generate))
        server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size)
        server.tokens_per_second(args.streams, 4)
        rate, cpu = server.tokens_per_second(args.streams, args.generate)
        server.stop()
        served.append(rate)
        front.append(sum(v for name, v in cpu.items() if name not in ("tutti-engine", "tutti-compute")))
    ratio = statistics.median(s / e for s, e in zip(served, engine))
    print(f"engine alone, {args.streams} streams: {statistics.median(engine):.1f} tokens/s (median of {args.rounds})")
    print(f"through HTTP: {statistics.median(served):.1f} tokens/s, ratio {ratio:.3f} (bar: >= 0.95)")
    print(f"front's CPU: {100 * statistics.median(front):.1f} % of a core (bar: <= 10 %)")

    server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size)
    print(f"start to ready: {server.seconds_to_ready:.2f} s")
    server.tokens_per_second(1, 8)
    alone = [server.tokens_per_second(1, args.generate)[0] for _ in range(args.rounds)]
    before = server.resident_bytes()
    idle = []
    for _ in range(256):
        client = server.connect()
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(4096)
        idle.append(client)
    beside, again = [], []
    for _ in range(args.rounds):
        beside.append(server.tokens_per_second(1, args.generate)[0])
    after = server.resident_bytes()
    for client in idle:
        client.close()
    for _ in range(args.rounds):
        again.append(server.tokens_per_second(1, args.generate)[0])
    each = (after["VmRSS"] - before["VmRSS"]) / 256
    speed = statistics.median(beside) / statistics.median(alone + again)
    print(f"256 idle connections: {each / 1024:.1f} KiB each (bar: <= 64), one stream beside them runs at "
          f"{speed:.3f} of its speed (bar: >= 0.95)")
    print(f"resident: {after['VmRSS'] / 2**20:.0f} MiB, of that files {after['RssFile'] / 2**20:.0f} MiB")
    server.stop()


if __name__ == "__main__":
    main()
