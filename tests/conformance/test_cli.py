"""The commands for looking inside, against golden files."""
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import numpy
import pytest
from safetensors.numpy import load_file

from conftest import BINARY, ROOT, golden

DEMO = ROOT / "models/demo"


def run(*arguments, stdin=b"", code=0):
    done = subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, timeout=120)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout if code == 0 else done.stderr.decode()


def entries(relative):
    return sorted(p for p in golden(relative).iterdir())


@pytest.mark.parametrize("folder", [p for p in entries("text/tokenizers")], ids=lambda p: p.name)
def test_tokenize_folder(folder):
    for row in json.loads((folder / "golden.json").read_text())[:12]:
        text = row["text"].encode()
        assert json.loads(run("tokenize", folder, stdin=text))["ids"] == row["ids"]
        assert json.loads(run("tokenize", "--no-special", folder, stdin=text))["ids"] == row["ids_without_special"]
        ids = json.dumps({"ids": row["ids"]}).encode()
        assert run("detokenize", folder, stdin=ids).decode() == row["decoded"]
        assert run("detokenize", "--with-special", folder, stdin=ids).decode() == row["decoded_with_special"]


@pytest.mark.parametrize("file", [p for p in entries("text/gguf-vocab") if p.suffix == ".gguf"], ids=lambda p: p.name)
def test_tokenize_gguf(file):
    for row in json.loads(file.with_suffix(".golden.json").read_text())[:12]:
        plain = [] if row["parse_special"] else ["--plain"]
        assert json.loads(run("tokenize", *plain, file, stdin=row["text"].encode()))["ids"] == row["ids"]


def test_template():
    jinja = golden("text/templates/Qwen-Qwen2.5-7B-Instruct.jinja")

    rows = json.loads((jinja.parent / "Qwen-Qwen2.5-7B-Instruct.golden.json").read_text())
    for row in rows:
        if "expected" in row:
            assert run("template", "--template", jinja, stdin=json.dumps(row["input"]).encode()).decode() == row["expected"]
    assert b"<|im_start|>user\nHi<|im_end|>" in run(
        "template", DEMO, stdin=json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode())


def test_template_refusal_is_its_message(tmp_path):
    file = tmp_path / "t.jinja"
    file.write_text("{{ raise_exception('Roles must alternate') }}")
    error = run("template", "--template", file, stdin=b"{}", code=1)
    assert error.strip().endswith("Roles must alternate")


@pytest.mark.parametrize("name", ["llama", "qwen3", "olmo2", "granite"])
def test_logits(tmp_path, name):
    folder = golden("models/" + name)
    expected = load_file(folder / "golden.safetensors")
    ids = ",".join(map(str, expected["input_ids"]))
    std = expected["logits"].std()
    for compute, bound in (("f32", 1e-4), ("bf16", 0.25)):
        out = tmp_path / f"{compute}.safetensors"
        run("logits", folder, "--ids", ids, "--compute", compute, "--out", out)
        error = numpy.abs(load_file(out)["logits"] - expected["logits"]).max() / std
        assert error <= max(bound, 10 * expected["sensitivity"][0])


def test_logits_of_longrope_follow_the_prompt(tmp_path):
    """Short factors for a prompt within the original context, long ones beyond it, as transformers."""
    folder = pathlib.Path(__file__).parents[1] / "goldens/models/phi3-longrope"
    for name in ("golden", "golden_short"):
        expected = load_file(folder / f"{name}.safetensors")
        out = tmp_path / f"{name}.safetensors"
        ids = ",".join(map(str, expected["input_ids"]))
        run("logits", folder, "--ids", ids, "--compute", "f32", "--out", out)
        error = numpy.abs(load_file(out)["logits"] - expected["logits"]).max()
        assert error <= 1e-4 * expected["logits"].std(), name


def test_int8_cache(tmp_path):
    folder = golden("models/llama")
    expected = load_file(folder / "golden.safetensors")
    ids = ",".join(map(str, expected["input_ids"]))
    errors = []
    for dtype in ("bf16", "bfloat16", "int8"):
        out = tmp_path / f"{dtype}.safetensors"
        run("logits", folder, "--ids", ids, "--kv-cache-dtype", dtype, "--compute", "bf16", "--out", out)
        errors.append(numpy.abs(load_file(out)["logits"] - expected["logits"]).mean())
    assert errors[0] == errors[1] != errors[2]
    assert errors[2] <= 0.02 * expected["logits"].std()
    refused = run("logits", folder, "--ids", ids, "--kv-cache-dtype", "fp8", "--out", out, code=105)
    assert "fp8" in refused
    refused = run(
        "logits", folder, "--ids", ids, "--kv-cache-dtype", "int8", "--compute", "f32", "--out", out, code=1
    )
    assert "int8" in refused


def test_inspect():
    gguf = json.loads(run("inspect", golden("gguf/llama-Q4_K.gguf")))
    assert gguf["metadata"]["general.architecture"] == "llama"
    assert {t["type"] for t in gguf["tensors"]} >= {"F32", "Q4_K"}
    assert gguf["compute"]["class"] in ("q8", "int8")
    folder = json.loads(run("inspect", DEMO))
    assert folder["config"]["model_type"] == "llama" and len(folder["tensors"]) > 70
    assert folder["compute"]["class"] == "bf16"


def test_errors_go_to_stderr_with_code_1(tmp_path):
    assert "no-such" in run("serve", "no-such-model", "--port", "0", code=1)
    bad = tmp_path / "x.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 60)
    assert "x.gguf" in run("inspect", bad, code=1)
    (tmp_path / "m.bin").write_bytes(b"x")
    assert "pickle" in run("serve", tmp_path / "m.bin", "--port", "0", code=1)


def test_run_from_a_pipe_and_arguments():
    answer = run("run", "demo", "--temperature", "0", "--max-tokens", "12", stdin=b"Hello!").decode()
    assert answer.strip()
    assert run("run", "demo", "Hello!", "--temperature", "0", "--max-tokens", "12").decode() == answer


def ollama_store(root, parameters):
    """A store with one model `stored` that has these parameters."""
    layers = []

    def add(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        (root / "blobs" / f"sha256-{digest}").write_bytes(content)
        layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"})
    add("model", golden("gguf/llama-Q8_0.gguf").read_bytes())
    add("params", json.dumps(parameters).encode())
    manifest = root / "manifests/registry.ollama.ai/library/stored/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers}))
    return root


def test_run_ends_at_the_stop_strings_of_the_store(tmp_path):
    flags = ["stored", "Hello", "--temperature", "0", "--max-tokens", "12", "--models-dir"]
    whole = run("run", *flags, ollama_store(tmp_path / "free", {}))
    word = re.findall(rb"t\d+", whole)[1]  # what a random model says depends on its arithmetic
    stopped = run("run", *flags, ollama_store(tmp_path / "stopped", {"stop": [word.decode()]}))
    assert stopped == whole[:whole.index(word)] + b"\n"


def test_unused_parameters_of_the_store_are_named(tmp_path):
    store = ollama_store(tmp_path, {"num_ctx": 64, "top_k": 3})
    done = subprocess.run([BINARY, "run", "stored", "Hello", "--max-tokens", "1", "--models-dir", store],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stderr.count(b"num_ctx is not used") == 1
    assert b"top_k" not in done.stderr


def test_run_keeps_history_and_ctrl_c_stops_only_the_answer():
    import pty
    parent, child = pty.openpty()
    process = subprocess.Popen([BINARY, "run", "demo", "--temperature", "0"], stdin=child, stdout=child,
                               stderr=subprocess.DEVNULL, close_fds=True, start_new_session=True)
    os.close(child)
    os.set_blocking(parent, False)

    def read_until(text, seconds=20):
        seen, begin = "", time.monotonic()
        while text not in seen:
            assert time.monotonic() - begin < seconds, seen
            try:
                seen += os.read(parent, 4096).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
        return seen
    read_until(">>>")
    os.write(parent, b"Tell me a very long story about everything.\n")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    read_until(">>>")
    assert process.poll() is None
    os.write(parent, b"Hello!\n")
    read_until(">>>")
    os.write(parent, b"\x04")
    assert process.wait(timeout=20) == 0


def test_mistakes_are_named(tmp_path):
    error = run("serv", "--port", "0", code=1)
    assert 'unknown command "serv"' in error and "serve, run, bench" in error and "config-reference" not in error
    settings = tmp_path / "my.toml"
    settings.write_text("no_such_flag = 1\n")
    error = run("--config", settings, "run", code=1)
    assert str(settings) in error and "no-such-flag" in error


def test_bench_json():
    result = json.loads(run("bench", "demo", "--prompt", "64", "--generate", "8", "--batch", "1,2", "--json"))
    assert result["prefill_tokens_per_second"] > 0
    assert [d["batch"] for d in result["decode"]] == [1, 2]
    assert all(d["decode_tokens_per_second"] > 0 for d in result["decode"])
    assert result["limits"]["read_gigabytes_per_second"] > 0


def test_configuration_reference_is_current():
    reference = run("config-reference").decode()
    assert reference.strip() in (ROOT / "docs/configuration.md").read_text()


def test_precedence(tmp_path):
    settings = tmp_path / "config.toml"
    settings.write_text("[bench]\nprompt = 16\ngenerate = 3\nbatch = [1]\n")
    def prompt(environment=None, *flags):
        done = subprocess.run([BINARY, "--config", settings, "bench", "--json", *flags], capture_output=True,
                              env={**os.environ, **(environment or {})}, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["prompt"]
    assert prompt() == 16
    assert prompt({"TUTTI_PROMPT": "17"}) == 17
    assert prompt({"TUTTI_PROMPT": "17", "TUTTI_BENCH_PROMPT": "18"}) == 18
    assert prompt({"TUTTI_PROMPT": "17"}, "--prompt", "19") == 19
    settings.write_text("[bench]\nno-such-flag = 1\n")
    assert "no-such-flag" in run("--config", settings, "bench", code=1)
