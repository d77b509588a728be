"""Servers whose engine is mistreated, and what the tests share."""
import asyncio
import importlib.util
import json
import os
import pathlib
import random
import signal
import time

import httpx
import pytest

HERE = pathlib.Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("conformance", HERE.parent / "conformance" / "conftest.py")
_conformance = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conformance)

PROMPTS = ["Once upon a time", "The old lighthouse", "My cat and I", "In the deep forest", "A small robot"]


class Server(_conformance.Server):
    """A server, and its engine's process."""

    def engines(self):
        """The engines' process ids, the oldest first."""
        found = []
        path = pathlib.Path(f"/proc/{self.process.pid}/task")
        for thread in path.iterdir():
            for child in (thread / "children").read_text().split():
                command = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if command[1:2] == [b"engine"]:
                    found.append(int(child))
        return sorted(found)

    def engine(self):
        """The engine's process id, or None while there is none."""
        return next(iter(self.engines()), None)

    def signal_engine(self, number=signal.SIGKILL):
        pid = self.engine()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def usage(self):
        """Of the front: descriptors, threads, and resident bytes."""
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return {"files": len(list((folder / "fd").iterdir())),
                "threads": len(list((folder / "task").iterdir())),
                "bytes": pages * os.sysconf("SC_PAGE_SIZE")}

    def idle(self):
        names = ("tutti_num_requests_running", "tutti_num_requests_waiting", "tutti_kv_cache_usage_perc")
        values = self.metrics()
        return all(v == 0 for k, v in values.items() if k.split("{")[0] in names)


def body(i, tokens=60):
    """A request of its own for each i: prompts, seeds, penalties and log-probabilities differ."""
    request = {"model": "demo", "prompt": PROMPTS[i % len(PROMPTS)] * (1 + i % 3), "seed": 1000 + i,
               "max_tokens": tokens + 7 * (i % 8), "temperature": 0 if i % 4 == 0 else 1.0, "stream": True,
               "ignore_eos": i % 5 != 0, "stream_options": {"include_usage": True}}
    if i % 3 == 1:
        request["logprobs"] = 2
    if i % 3 == 2:
        request["frequency_penalty"], request["repetition_penalty"] = 0.4, 1.1
    if i % 7 == 3:
        request["stop"] = ["the end", "mother"]
    return request


class Stream:
    """What one client was told."""

    def __init__(self):
        self.text, self.logprobs, self.finish, self.usage = "", [], [], []
        self.error, self.done, self.status = None, 0, 0

    def add(self, line):
        if not line.startswith("data: "):
            return
        if line == "data: [DONE]":
            self.done += 1
            return
        event = json.loads(line[6:])
        if "error" in event:
            self.error = event["error"]
            return
        if event.get("usage"):
            usage = event["usage"]
            self.usage.append((usage["prompt_tokens"], usage["completion_tokens"]))
        for choice in event["choices"]:
            self.text += choice["text"]
            if choice.get("logprobs"):
                self.logprobs += zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"])
            if choice["finish_reason"]:
                self.finish.append(choice["finish_reason"])

    def said(self):
        return self.text, self.logprobs, self.finish, self.usage, self.done


async def ask(client, i, tokens=60, pause=0.0, on_line=None, model="demo"):
    stream = Stream()
    request = {**body(i, tokens), "model": model}
    async with client.stream("POST", "/v1/completions", json=request) as reply:
        stream.status = reply.status_code
        if reply.status_code != 200:
            stream.error = json.loads(await reply.aread())["error"]
            return stream
        async for line in reply.aiter_lines():
            stream.add(line)
            if on_line:
                on_line(line)
            if pause:
                await asyncio.sleep(pause)
    return stream


def client_of(server):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits)


async def alone(server, count, tokens=60):
    """Each request's stream, one after the other, on an engine that nobody disturbs."""
    async with client_of(server) as client:
        streams = [await ask(client, i, tokens) for i in range(count)]
    for stream in streams:
        assert stream.error is None and stream.done == 1 and len(stream.finish) == 1
    return [stream.said() for stream in streams]


@pytest.fixture
def server(tmp_path):
    running = Server("--crash-dir", tmp_path / "crashes")
    running.crashes = tmp_path / "crashes"
    yield running
    assert running.alive(), "the front died:\n" + "".join(running.log[-50:])
    assert running.stop() == 0


@pytest.fixture
def rng():
    seed = int(os.environ.get("TUTTI_CHAOS_SEED", time.time_ns() % 10**6))
    print("seed", seed)  # shown when a test fails; set TUTTI_CHAOS_SEED to repeat
    return random.Random(seed)
