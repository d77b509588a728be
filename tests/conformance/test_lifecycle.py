"""How the real process starts and stops."""
import json
import signal
import socket
import subprocess
import sys
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
