"""The memory plan: it is shown, it is kept, and what does not fit is refused with what would."""
import json
import os
import pathlib
import re
import subprocess
import urllib.request

import pytest

from conftest import BINARY, Server, golden

MB = 1 << 20


def plan(*arguments, prefix=()):
    run = subprocess.run([*prefix, BINARY, "serve", *arguments], capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout, run.stderr


def test_the_plan_is_printed_and_nothing_is_served():
    code, table, _ = plan("--plan", "--memory-limit", "2GiB")
    assert code == 0
    for word in ("demo:latest", "weights", "KV cache", "scratch", "--memory-limit"):
        assert word in table
    code, text, _ = plan("demo", "demo", "--served-model-name", "a,b", "--plan=json", "--memory-limit", "2GiB")
    first, second = json.loads(text)["models"]
    assert (first["model"], second["model"]) == ("a", "b")
    assert first["total"] <= first["limit"] == 2 << 30
    assert second["promised"] >= first["promised"] + first["weights"] + first["kv_cache"]
    assert second["total"] <= second["limit"]


@pytest.mark.parametrize("arguments", [
    ["--memory-limit", "300MB"], ["--memory-limit", "452MB", "--max-model-len", "600"],
    ["--memory-limit", "460MB", "--max-model-len", "4096"], ["--memory-limit", "1GB", "--kv-cache-size", "10TB"],
    ["--memory-limit", "460MB", "--max-model-len", "4096", "--kv-cache-size", "30MB"],
    ["--memory-limit", "1GB", "--memory-fraction", "0.3", "--kv-cache-size", "1GB"]])
def test_the_setting_that_a_refusal_names_starts(arguments):
    code, _, error = plan("--plan", *arguments)
    assert code == 1 and "does not fit" in error
    advice = error.strip().rsplit("others ", 1)[-1].rsplit("models ", 1)[-1]
    settings = dict(zip(arguments[::2], arguments[1::2]))
    settings.update(re.findall(r"(--[a-z-]+) ([0-9.]*[0-9])", advice))
    if needed := re.search(r"It takes .*\((\d+) bytes\)", advice):
        settings["--memory-limit"] = needed.group(1)
    server = Server(*(word for setting in settings.items() for word in setting))
    assert server.stop() == 0


def test_a_model_that_would_not_load_has_no_plan(tmp_path):
    """A matrix's type is changed to Q2_K (10), which takes fewer bytes than Q8_0."""
    content = golden("gguf/llama-Q8_0.gguf").read_bytes()
    name = b"blk.0.ffn_up.weight"
    at = content.index(name) + len(name)
    at += 4 + 8 * int.from_bytes(content[at:at + 4], "little")
    path = tmp_path / "unusual.gguf"
    path.write_bytes(content[:at] + (10).to_bytes(4, "little") + content[at + 4:])
    code, _, error = plan("--plan", str(path))
    assert code == 1 and "type Q2_K, which is not supported yet" in error


def test_settings_of_the_cache():
    def planned(*arguments):
        code, text, error = plan("--plan=json", "--memory-limit", "2GiB", *arguments)
        assert code == 0, error
        return json.loads(text)["models"][0]

    assert planned("--kv-cache-size", "100MiB")["kv_cache"] == pytest.approx(100 * MB, rel=0.01)
    assert planned("--max-model-len", "777")["max_model_len"] == 777
    half = planned("--memory-fraction", "0.5", "--max-running", "4096")
    assert half["limit"] == 1 << 30 and half["total"] == pytest.approx(half["limit"], rel=0.01)


def resident(pid):
    """Most memory that a process and its children ever had resident, but for the pages of files."""
    processes = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        processes += map(int, (task / "children").read_text().split())
    total = 0
    for process in processes:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+)", status).group(1))
        total += peak * 1024
    return total


def load_all(server):
    """Answers for 32 prompts at once."""
    prompts = [[7 + i] * 400 for i in range(32)]
    body = json.dumps({"prompt": prompts, "max_tokens": 40, "ignore_eos": True}).encode()
    request = urllib.request.Request(server.url + "/v1/completions", data=body)
    with urllib.request.urlopen(request, timeout=120) as response:
        assert json.load(response)["usage"]["completion_tokens"] == 32 * 40


@pytest.mark.parametrize("limit", [100, 200, 300, 400, 700, 2000])
def test_within_any_limit_it_serves_or_refuses(limit):
    """Swept over an injected limit; what serves stays within it under load."""
    arguments = ["--memory-limit", f"{limit}MiB", "--max-body-memory", "64MiB", "--max-running", "32"]
    code, text, error = plan("--plan=json", *arguments)
    if code != 0:
        assert "does not fit" in error and "would" in error or "It takes" in error
        assert limit <= 300
        return
    assert limit >= 300
    server = Server(*arguments)
    try:
        server.wait_until(lambda: "Memory plan of demo" in "".join(server.log), 10)
        load_all(server)
        assert resident(server.process.pid) <= limit * MB
    finally:
        assert server.stop() == 0


class MemoryGroup:
    """A cgroup of its own with a limit, of version 2 or 1. Skips the test where none may be made."""

    ROOT = pathlib.Path("/sys/fs/cgroup")

    def __init__(self, limit):
        self.is_v2 = (self.ROOT / "cgroup.controllers").exists()
        parent = self.ROOT if self.is_v2 else self.ROOT / "memory"
        self.path = parent / f"tutti-test-{os.getpid()}"
        try:
            if self.is_v2 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                pytest.skip("the root cgroup gives its children no memory controller")
            self.path.mkdir()
            name = "memory.max" if self.is_v2 else "memory.limit_in_bytes"
            (self.path / name).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"no memory cgroup can be made here, so only the injected limit is tested: {error}")
        self.prefix = ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh")

    def num_killed(self):
        text = (self.path / ("memory.events" if self.is_v2 else "memory.oom_control")).read_text()
        found = re.search(r"oom_kill (\d+)", text)
        return int(found.group(1)) if found else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.rmdir()


@pytest.mark.parametrize("limit", [64, 150, 250, 350, 500, 1000])
def test_within_any_cgroup_it_serves_or_refuses(limit):
    """Swept over real limits, from too small to ample: never killed."""
    arguments = ["--max-body-memory", "64MiB", "--max-running", "32"]
    with MemoryGroup(limit * MB) as group:
        code, text, error = plan("--plan=json", *arguments, prefix=group.prefix)
        if code != 0:
            assert "does not fit" in error and "would" in error or "It takes" in error
            assert code > 0 and limit <= 350
        else:
            assert limit >= 250
            planned = json.loads(text)["models"][0]
            assert planned["total"] <= planned["limit"] <= limit * MB
            server = Server(*arguments, prefix=group.prefix)
            try:
                load_all(server)
            finally:
                assert server.stop() == 0
            assert resident_ever(group) <= limit * MB
        assert group.num_killed() == 0


def resident_ever(group):
    name = "memory.peak" if group.is_v2 else "memory.max_usage_in_bytes"
    path = group.path / name  # memory.peak: since Linux 5.19
    return int(path.read_text()) if path.exists() else 0
