"""The second tier of the prefix cache: what was computed is found again after the engine's death and
after a restart of the whole server."""
import json
import os
import signal
import stat
import subprocess
import urllib.request

import pytest

from conftest import BINARY, Server
from test_memory import plan

PROMPT = [7 + i % 90 for i in range(300)]


def complete(server, prompt, key=None):
    body = json.dumps({"prompt": prompt, "max_tokens": 4, "temperature": 0, "logprobs": 1}).encode()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(server.url + "/v1/completions", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    choice = answer["choices"][0]
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached, choice["text"], choice["logprobs"]["token_logprobs"]


def engine_of(server):
    for thread in os.listdir(f"/proc/{server.process.pid}/task"):
        with open(f"/proc/{server.process.pid}/task/{thread}/children") as children:
            for child in children.read().split():
                with open(f"/proc/{child}/cmdline", "rb") as command:
                    if command.read().split(b"\0")[1:2] == [b"engine"]:
                        return int(child)
    return None


def test_blocks_outlive_the_engine_and_the_server(tmp_path):
    folder = tmp_path / "spill"
    server = Server("--kv-spill-dir", folder, "--kv-spill-size", "64MiB")
    try:
        cached, *answer = complete(server, PROMPT)
        assert cached == 0
        written = []

        def all_are_written():  # the engine tells with its steps
            complete(server, [1, 2, 3])
            written.append(server.metric("tutti_kv_spill_written_blocks_total"))
            return written[-1] >= 9

        server.wait_until(all_are_written, 10)
        assert server.metric("tutti_kv_spill_blocks") >= 9
        pid = engine_of(server)
        os.kill(pid, signal.SIGKILL)
        server.wait_until(lambda: engine_of(server) not in (None, pid), 10)
        cached, *again = complete(server, PROMPT)
        assert cached >= 9 * 32 and again == answer
        assert server.metric("tutti_kv_spill_read_blocks_total") >= 9
        assert server.metric("tutti_kv_spill_checksum_failures_total") == 0
        assert complete(server, PROMPT, key="another's")[0] == 0
    finally:
        assert server.stop() == 0
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert file.stat().st_size <= 64 << 20
    assert b"another's" not in file.read_bytes()

    server = Server("--kv-spill-dir", folder, "--kv-spill-size", "64MiB")
    try:
        cached, *again = complete(server, PROMPT)
        assert cached >= 9 * 32 and again == answer
        # The second server goes on without, and the first one's file stays as it is.
        second = Server("--kv-spill-dir", folder)
        assert complete(second, PROMPT)[0] == 0
        assert second.metric("tutti_kv_spill_blocks") == 0
        assert any("without its second tier" in line for line in second.log)
        assert second.stop() == 0
    finally:
        assert server.stop() == 0

    # Of another arithmetic nothing is used.
    server = Server("--kv-spill-dir", folder, "--kv-cache-dtype", "int8")
    try:
        assert complete(server, PROMPT)[0] == 0
    finally:
        assert server.stop() == 0


def test_a_size_without_a_folder_is_refused():
    code, _, error = plan("--plan", "--kv-spill-size", "64MiB")
    assert code == 1 and "--kv-spill-dir" in error


@pytest.mark.parametrize("folder", ["/proc/no/such/folder", "/dev/null/folder"])
def test_a_folder_that_cannot_be_used_harms_nobody(folder):
    server = Server("--kv-spill-dir", folder, "--kv-spill-size", "64MiB")
    try:
        assert complete(server, PROMPT)[1] == complete(server, PROMPT)[1]
        assert any("without its second tier" in line for line in server.log)
    finally:
        assert server.stop() == 0


def test_a_full_disk_turns_it_off(tmp_path):
    """A limit on the size of files stands for the disk."""
    limited = f"ulimit -f 300; exec {BINARY} serve --port 0 --kv-spill-dir {tmp_path} --kv-spill-size 64MiB"
    process = subprocess.Popen(["bash", "-c", limited], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = next(line for line in process.stdout if "ready: " in line).split("ready: ")[1].strip()

        class Limited:
            pass

        Limited.url = url
        answers = [complete(Limited, PROMPT[i % 3:])[1] for i in range(6)]
        assert answers[:3] == answers[3:]
    finally:
        process.terminate()
        log = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert log.count("second tier is turned off") == 1


def test_it_is_planned_where_files_are_memory(tmp_path):
    def spill(*arguments):
        code, text, error = plan("--plan=json", "--memory-limit", "2GiB", *arguments)
        assert code == 0, error
        return json.loads(text)["models"][0]["kv_spill"]

    assert spill() == 0
    buffers = spill("--kv-spill-dir", tmp_path, "--kv-spill-size", "1GiB")
    assert 0 < buffers < 100 << 20
    in_memory = spill("--kv-spill-dir", "/dev/shm/tutti-no-such-folder", "--kv-spill-size", "100MiB")
    assert in_memory == buffers + (100 << 20)
    code, _, error = plan("--memory-limit", "1GiB", "--kv-spill-dir", "/dev/shm", "--kv-spill-size", "1GiB", "--plan")
    assert code != 0 and "--kv-spill-size" in error
    code, _, error = plan("--kv-spill-dir", tmp_path, "--no-prefix-cache", "--plan")
    assert code != 0 and "prefix cache" in error
    code, _, error = plan("--kv-spill-dir", tmp_path, "--kv-spill-size", "1", "--plan")
    assert code != 0 and "--kv-spill-size" in error
