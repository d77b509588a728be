#!/usr/bin/env python3
"""What serving costs: the server against the engine alone, idle connections, memory, start.

    serving.py MODEL [--binary build/release/bin/tutti] [--rounds 5] [--generate 64]
    serving.py MODEL.gguf --llama-server PATH [--rounds 5] [--save FILE.json]

With --llama-server: Tutti and llama.cpp's server (`--parallel 16 -cb -fa on`) on the same file in
turn. 16 clients start together, each with 128 tokens in that no other has, and read 64 tokens out:
output tokens a second of all together (from the start to the last token), mean time to the first
token, and the 99th percentile of the gaps between a stream's tokens. Ratios are Tutti's figure over
the other's of the same round. With --save the rounds are added to those of the file.

Only the standard library, and as little work a token as possible, since client and server share the
machine. Engine and server are measured in turn; figures are medians over the rounds.
"""
import argparse
import json
import os
import pathlib
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request


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


class LlamaServer(Server):
    """llama.cpp's. `slots` sequences at once, each of up to `context` tokens."""

    def __init__(self, binary, model, slots, context, threads):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [binary, "-m", model, "--port", str(self.port), "--parallel", str(slots), "-cb", "-fa", "on",
             "-c", str(slots * context), "-t", str(threads)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.is_ready():
            if self.process.poll() is not None:
                sys.exit(f"{binary} ended with {self.process.returncode} before it was ready")
            time.sleep(0.05)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def percentile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def crowd(server, clients, prompt_tokens, generate, seed):
    """All clients start together. {"tokens_per_second", "time_to_first_token", "p99_gap"}."""
    generator = random.Random(seed)
    prompts = [[generator.randrange(300, 4000) for _ in range(prompt_tokens)] for _ in range(clients)]
    selector = selectors.DefaultSelector()
    times = [[] for _ in range(clients)]
    begin = time.monotonic()
    for i, prompt in enumerate(prompts):
        selector.register(server.request(prompt, generate), selectors.EVENT_READ, i)
    ends = []
    while len(ends) < clients:
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 16)
            now = time.monotonic()
            # Each token is one event; the one that only tells the end has no text.
            num_tokens = data.count(b'"text"') - data.count(b'"text":""')
            times[key.data] += [now] * num_tokens
            if not data or b"[DONE]" in data:
                if len(times[key.data]) < generate // 2:
                    sys.exit(f"a stream ended after {len(times[key.data])} of {generate} tokens: {data}")
                ends.append(now)
                selector.unregister(key.fileobj)
                key.fileobj.close()
    gaps = [after - before for stream in times for before, after in zip(stream, stream[1:])]
    return {"tokens_per_second": clients * generate / (max(ends) - begin),
            "time_to_first_token": statistics.mean(stream[0] for stream in times) - begin,
            "p99_gap": percentile(gaps, 0.99)}


def compare_with_llama_server(args):
    """Rounds in turn; prints each figure's medians and its ratio's median, least and largest."""
    clients, prompt_tokens, generate = args.streams, 128, args.generate
    rounds = []
    if args.save and pathlib.Path(args.save).exists():
        rounds = json.loads(pathlib.Path(args.save).read_text())
    for _ in range(args.rounds):
        measured = {}
        for name in ("tutti", "llama"):
            if name == "tutti":
                server = Server(args.binary, args.model, "--kv-cache-size", args.kv_cache_size, *args.tutti.split())
            else:
                server = LlamaServer(args.llama_server, args.model, clients,
                                     2 * (prompt_tokens + generate), os.cpu_count())
            crowd(server, clients, 16, 4, 0)
            measured[name] = crowd(server, clients, prompt_tokens, generate, 1 + len(rounds))
            server.stop()
        rounds.append(measured)
        if args.save:
            pathlib.Path(args.save).write_text(json.dumps(rounds, indent=1))
    print(f"{clients} clients together, {prompt_tokens} tokens in, {generate} out, {len(rounds)} rounds")
    for figure, unit, bar in (("tokens_per_second", "tokens/s", ">= 1.7 with AVX2, >= 3 with AMX"),
                              ("time_to_first_token", "s", "<= 0.5"), ("p99_gap", "s", "<= 1")):
        values = {name: [r[name][figure] for r in rounds] for name in ("tutti", "llama")}
        ratios = [a / b for a, b in zip(values["tutti"], values["llama"])]
        print(f"{figure}: {statistics.median(values['tutti']):.3g} {unit}, llama.cpp's "
              f"{statistics.median(values['llama']):.3g} {unit}, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}-{max(ratios):.2f}; bar: {bar})")


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
    parser.add_argument("--llama-server", metavar="PATH", help="compare with this server instead")
    parser.add_argument("--tutti", default="", metavar="FLAGS", help="more flags of tutti serve, for --llama-server")
    parser.add_argument("--save", metavar="FILE", help="JSON to keep the rounds of --llama-server in")
    args = parser.parse_args()
    if args.llama_server:
        compare_with_llama_server(args)
        return

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
