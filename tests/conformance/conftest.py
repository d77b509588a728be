"""A running server for the tests, and what they share."""
import atexit
import os
import pathlib
import re
import subprocess
import threading
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TUTTI_BINARY", str(ROOT / "build/release/bin/tutti"))


def golden(relative):
    """A golden file or folder: the full set beside the checkout when it is there, else the repo's."""
    for root in (ROOT / "../shared/goldens", ROOT / "tests/goldens"):
        if (root / relative).exists():
            return root / relative
    raise FileNotFoundError(relative)


class Server:
    """`tutti serve` on a free port; `prefix`: a command that execs it."""

    def __init__(self, *arguments, environment=None, prefix=()):
        self.process = subprocess.Popen(
            [*prefix, BINARY, "serve", *map(str, arguments), *([] if "--port" in arguments else ["--port", "0"])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})
        # A test that fails before it stops its server leaves no process behind.
        atexit.register(self.process.kill)
        self.log = []
        threading.Thread(target=self._drain, daemon=True).start()
        self.url = None
        for line in self.process.stdout:
            found = re.search(r"ready: (http://\S+)", line)
            if found:
                self.url = found.group(1)
                break
        assert self.url, "the server did not start:\n" + "".join(self.log)
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.port = int(self.url.rsplit(":", 1)[1])

    def _drain(self):
        for line in self.process.stderr:
            self.log.append(line)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return response.read().decode()

    def metrics(self):
        """{name or name{labels}: value}"""
        values = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name):
        """The sum over labels of one metric."""
        return sum(v for k, v in self.metrics().items() if k.split("{")[0] == name)

    def wait_until(self, condition, seconds):
        """Seconds until condition() holds; fails after `seconds`."""
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < seconds, "waited too long"
            time.sleep(0.005)
        return time.monotonic() - begin

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()


@pytest.fixture(scope="session")
def server():
    running = Server()
    yield running
    assert running.alive(), "the server died:\n" + "".join(running.log[-50:])
    assert running.stop() == 0


@pytest.fixture(scope="session")
def openai_client(server):
    import openai
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def ollama_client(server):
    import ollama
    return ollama.Client(host=server.url)


@pytest.fixture(scope="session")
def model(openai_client):
    return openai_client.models.list().data[0].id
