"""The memory plan: it is shown, it is kept, and what does not fit is refused with what would."""
import json
import pathlib
import re
import subprocess
import urllib.request

import pytest

from conftest import BINARY, Server

MB = 1 << 20


def plan(*arguments):
    run = subprocess.run([BINARY, "serve", *arguments], capture_output=True, text=True, timeout=60)
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
    assert "Memory plan of demo" in "".join(server.log)
    try:
        prompts = [[7 + i] * 400 for i in range(32)]
        body = json.dumps({"prompt": prompts, "max_tokens": 40, "ignore_eos": True}).encode()
        request = urllib.request.Request(server.url + "/v1/completions", data=body)
        with urllib.request.urlopen(request, timeout=120) as response:
            assert json.load(response)["usage"]["completion_tokens"] == 32 * 40
        assert resident(server.process.pid) <= limit * MB
    finally:
        assert server.stop() == 0
