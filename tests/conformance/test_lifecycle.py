"""How the real process starts and stops."""
import json
import signal
import socket
import subprocess
import sys
import threading
import time

from conftest import BINARY, ROOT, Server

DEMO = ROOT / "models/demo"


def stream(port, max_tokens):
    body = json.dumps({"prompt": [7, 7], "stream": True, "max_tokens": max_tokens,
                       "ignore_eos": True, "stream_options": {"include_usage": True}}).encode()
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(60)
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                   % len(body) + body)
    first = client.recv(65536)
    assert first.startswith(b"HTTP/1.1 200"), first
    return client, first


def rest_of(client, answer):
    while got := client.recv(65536):
        answer += got
    return answer


def test_sigterm_lets_streams_end():
    server = Server()
    client, first = stream(server.port, 600)
    server.process.send_signal(signal.SIGTERM)
    answer = rest_of(client, first)
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert b"error" not in answer and b'"completion_tokens":600' in answer
    assert server.process.wait(timeout=10) == 0


def test_what_drains_too_long_ends_with_one_error():
    server = Server("--drain-timeout", "1", "--max-model-len", "4000", "--compute", "f32")
    clients = [stream(server.port, 3900) for _ in range(8)]
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for client, first in clients:
        answer = rest_of(client, first)
        assert answer.count(b"the server is shutting down") == 1
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - begin < 5


def test_sigterm_while_loading_stops_at_once(tmp_path):
    """The model is one of zeros, large enough to take its time."""
    script = """if 1:
        import json, struct, sys
        path, layers = sys.argv[1], 24
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
                  "intermediate_size": 5632, "num_hidden_layers": layers, "num_attention_heads": 32,
                  "num_key_value_heads": 4, "vocab_size": 8192, "rms_norm_eps": 1e-5,
                  "max_position_embeddings": 512, "rope_theta": 10000.0,
                  "tie_word_embeddings": True, "hidden_act": "silu", "eos_token_id": 2}
        json.dump(config, open(path + "/config.json", "w"))
        h, f, kv = 2048, 5632, 256
        tensors = {"model.embed_tokens.weight": [8192, h], "model.norm.weight": [h]}
        for i in range(layers):
            base = f"model.layers.{i}."
            tensors |= {base + "input_layernorm.weight": [h],
                        base + "post_attention_layernorm.weight": [h],
                        base + "self_attn.q_proj.weight": [h, h],
                        base + "self_attn.k_proj.weight": [kv, h],
                        base + "self_attn.v_proj.weight": [kv, h],
                        base + "self_attn.o_proj.weight": [h, h],
                        base + "mlp.gate_proj.weight": [f, h], base + "mlp.up_proj.weight": [f, h],
                        base + "mlp.down_proj.weight": [h, f]}
        header, offset = {}, 0
        for name, shape in tensors.items():
            size = 2
            for n in shape: size *= n
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path + "/model.safetensors", "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            out.truncate(8 + len(text) + offset)
    """
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    process = subprocess.Popen([BINARY, "serve", str(tmp_path), "--port", "0", "--threads", "1"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.3)
    assert process.poll() is None, process.stderr.read()
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert time.monotonic() - begin < 1
    assert "ready" not in output
    assert "while the models were loading" in log


def test_two_models_of_one_name_are_refused():
    for arguments in ([DEMO, DEMO], ["demo", "demo", "--served-model-name", "a,a:latest"]):
        run = subprocess.run([BINARY, "serve", *arguments, "--port", "0"], capture_output=True,
                             text=True, timeout=60)
        assert run.returncode == 1
        assert "two models are named" in run.stderr, run.stderr
    server = Server("demo", "demo", "--served-model-name", "a,b")
    assert server.stop() == 0


def test_sighup_reads_the_settings_again(tmp_path):
    settings = tmp_path / "config.toml"
    settings.write_text('[serve]\nmax-body-size = "1MiB"\n')
    server = Server(environment={"TUTTI_CONFIG": str(settings)})
    body = json.dumps({"prompt": "the " * 1000, "max_tokens": 1}).encode()

    def status():
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                       % len(body) + body)
        return int(client.recv(65536).split(b" ")[1])

    assert status() == 200
    settings.write_text('[serve]\nmax-body-size = "1KiB"\nthreads = 1\nlog_format = "json"\n'
                        '[tenants.lab]\nids = ["lab"]\nweight = 2\n')
    server.process.send_signal(signal.SIGHUP)
    server.wait_until(lambda: status() == 413, 5)
    server.wait_until(lambda: any("read again" in line for line in server.log), 5)
    log = "".join(server.log)
    assert "threads has changed, which takes effect after a restart" in log
    assert "max-body-size is in force" in log and "tenants are in force" in log
    assert json.loads(server.log[-1])["level"] == "info"
    settings.write_text("[serve]\nmax-body-size = 'a lot'\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_until(lambda: any("stay as they are" in line for line in server.log), 5)
    assert status() == 413
    assert server.stop() == 0


class ServiceManager:
    """The side of systemd that a service talks to."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def wait_for(self, state):
        while True:
            message = self.socket.recv(4096).decode()
            if state in message.split("\n"):
                return message


def test_the_service_manager_is_told(tmp_path):
    manager = ServiceManager(tmp_path / "notify")
    server = Server(environment={**manager.environment, "WATCHDOG_USEC": "1000000"})
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    server.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    server.process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert server.process.wait(timeout=10) == 0


class Hammer:
    """Connections one after the other, each with one request, until told to stop."""

    def __init__(self, port):
        self.port, self.failures, self.count, self.done = port, [], 0, threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        body = b'{"prompt": [7], "max_tokens": 1, "ignore_eos": true}'
        while not self.done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
                    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    answer = b""
                    while got := client.recv(65536):
                        answer += got
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failures.append(answer[:200])
            except OSError as error:
                self.failures.append(repr(error))
            self.count += 1

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
        return self.failures


def test_a_new_process_takes_over_a_shared_port():
    old = Server("--reuse-port")
    for _ in range(3):
        hammer = Hammer(old.port)
        old.wait_until(lambda: hammer.count > 20, 20)
        new = Server("--reuse-port", "--port", str(old.port))
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(timeout=20) == 0
        begin = hammer.count
        new.wait_until(lambda: hammer.count > begin + 20, 20)
        assert hammer.stop() == []
        old = new
    assert old.stop() == 0


def test_a_service_managers_socket_stays_open_between_processes():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]

    def start():
        # LISTEN_PID must be the process's own, which is known after the fork only.
        script = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
                  "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
                  "os.execv(sys.argv[2], sys.argv[2:])")
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), BINARY, "serve"],
            pass_fds=[listener.fileno()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert any(f"ready: http://127.0.0.1:{port}" in line for line in process.stdout)
        return process

    first = start()
    hammer = Hammer(port)
    time.sleep(0.3)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=20) == 0
    second = start()
    begin = hammer.count
    while hammer.count < begin + 20:
        time.sleep(0.01)
    assert hammer.stop() == []
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=20) == 0


def request_lines(server):
    lines = [json.loads(line) for line in server.log]
    return [line for line in lines if line["message"] == "request"]


def post(server, path, body, **fields):
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{text}"
                       f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = b""
        while got := client.recv(65536):
            answer += got
    return answer


def test_one_line_of_the_log_for_each_request(tmp_path):
    server = Server("--log-format", "json")
    secret = "pineapple"
    chat = json.dumps({"messages": [{"role": "user", "content": secret}], "max_tokens": 5,
                       "temperature": 0, "ignore_eos": True})
    post(server, "/v1/chat/completions", chat, x_request_id="first", Authorization="Bearer sk-secret",
         traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    post(server, "/v1/chat/completions", chat.replace('"temperature": 0', '"temperature": "' + secret + '"'))
    post(server, "/api/generate", json.dumps({"prompt": secret, "options": {"num_predict": 3}}),
         x_tenant_id="web")
    client, _ = stream(server.port, 4000)
    client.close()
    server.wait_until(lambda: len(request_lines(server)) == 4, 5)
    first, refused, ollama, gone = request_lines(server)
    assert first["id"] == "first" and first["model"] == "demo:latest" and first["status"] == 200
    assert first["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert first["end"] == "length" and first["completion_tokens"] == 5
    assert first["prompt_tokens"] > 0 and first["cached_tokens"] >= 0
    assert 0 < first["prefill_time"] + first["decode_time"] <= first["total_time"]
    assert first["tenant"].startswith("key-") and ollama["tenant"].startswith("id-")
    assert refused["status"] == 400 and refused["end"] == "invalid_argument"
    assert gone["end"] == "cancelled" and gone["tenant"] == "common"
    log = "".join(server.log)
    assert secret not in log and "sk-secret" not in log
    assert server.stop() == 0

    server = Server("--log-content")
    answer = post(server, "/v1/chat/completions", chat)
    said = json.loads(answer.split(b"\r\n\r\n", 1)[1])["choices"][0]["message"]["content"]
    server.wait_until(lambda: any(" info request " in line for line in server.log), 5)
    line = next(line for line in server.log if " info request " in line)
    assert secret in line and json.dumps(said, ensure_ascii=False) in line
    assert server.stop() == 0
