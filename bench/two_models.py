#!/usr/bin/env python3
"""Two models in one server: what each has left of its speed while the other works too.

    two_models.py FIRST SECOND [--binary build/release/bin/tutti] [--clients 8] [--seconds 5]

First each model alone, then both, each with so many clients that stream without a pause. Printed are
tokens a second, the gaps between what a stream's socket gets (median and 99th percentile), and the sum
of both models' shares of their own speed alone: 1 when they lose nothing to each other.

Only the standard library.
"""
import argparse
import json
import socket
import statistics
import threading
import time

from serving import Server

NAMES = ("first", "second")


def stream(port, model, client, until, pieces):
    """Asks again and again; appends (when, tokens) for each piece that arrives."""
    body = json.dumps({"model": model, "prompt": [100 + client, 200, 300], "max_tokens": 400, "stream": True,
                       "ignore_eos": True, "temperature": 0}).encode()
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: %d\r\n\r\n" % len(body) + body)
            tail = b""
            while time.monotonic() < until and b"[DONE]" not in tail:
                bytes_read = connection.recv(65536)
                if not bytes_read:
                    break
                pieces.append((time.monotonic(), bytes_read.count(b'"text"')))
                tail = (tail + bytes_read)[-64:]


def run(port, models, clients, seconds):
    """{model: (tokens a second, median gap, p99 gap)}"""
    until = time.monotonic() + seconds
    pieces = {model: [[] for _ in range(clients)] for model in models}
    threads = [threading.Thread(target=stream, args=(port, model, i, until, pieces[model][i]))
               for model in models for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = {}
    for model in models:
        gaps = sorted(b[0] - a[0] for each in pieces[model] for a, b in zip(each, each[1:]))
        tokens = sum(count for each in pieces[model] for _, count in each)
        results[model] = (tokens / seconds, statistics.median(gaps), gaps[int(0.99 * (len(gaps) - 1))])
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    server = Server(options.binary, options.first, options.second, "--served-model-name", ",".join(NAMES),
                    "--kv-cache-size", "256MiB")
    try:
        for name in NAMES:  # costs are learned and pages are read
            run(server.port, [name], options.clients, 1)
        results = {}
        for models in ([NAMES[0]], [NAMES[1]], NAMES):
            for model, result in run(server.port, models, options.clients, options.seconds).items():
                results[len(models), model] = result
                print(f"{model:7} {'alone' if len(models) == 1 else 'both':6} {result[0]:8.1f} tokens/s"
                      f"   gap {1e3 * result[1]:6.1f} ms, p99 {1e3 * result[2]:6.1f} ms", flush=True)
        print(f"shares together {sum(results[2, name][0] / results[1, name][0] for name in NAMES):.2f}")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
