"""A client that goes away is cancelled in every phase, and its blocks are back within 250 ms."""
import json
import socket

import pytest

from conftest import Server

LIMIT_SECONDS = 0.25


@pytest.fixture(scope="module")
def small_server():
    running = Server("--max-running", "2", "--token-budget", "16", "--compute", "f32")
    yield running
    assert running.stop() == 0


def send(server, prompt_tokens, max_tokens):
    body = json.dumps({"model": "demo", "prompt": [7] * prompt_tokens, "stream": True,
                       "max_tokens": max_tokens, "ignore_eos": True}).encode()
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                   b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return client


def running(server):
    return server.metric("tutti_num_requests_running")


def waiting(server):
    return server.metric("tutti_num_requests_waiting")


def used(server):
    return server.metric("tutti_kv_cache_usage_perc")


def idle(server):
    return running(server) == 0 and waiting(server) == 0 and used(server) == 0


def test_in_decode(small_server):
    client = send(small_server, 2, 3000)
    while b"text_completion" not in client.recv(65536):
        pass
    assert running(small_server) == 1 and used(small_server) > 0
    client.close()
    small_server.wait_until(lambda: idle(small_server), LIMIT_SECONDS)


def test_in_prefill(small_server):
    client = send(small_server, 3000, 10)
    small_server.wait_until(lambda: used(small_server) > 0, 5)
    client.close()
    small_server.wait_until(lambda: idle(small_server), LIMIT_SECONDS)


def test_in_queue(small_server):
    first = [send(small_server, 2, 3000) for _ in range(2)]
    small_server.wait_until(lambda: running(small_server) == 2, 5)
    queued = send(small_server, 2, 3000)
    small_server.wait_until(lambda: waiting(small_server) == 1, 5)
    queued.close()
    small_server.wait_until(lambda: waiting(small_server) == 0, LIMIT_SECONDS)
    for client in first:
        client.close()
    small_server.wait_until(lambda: idle(small_server), LIMIT_SECONDS)


def test_half_closed_client_is_cancelled(small_server):
    """The end of a client's bytes is all that is seen of one that has gone, so it counts as that, as
    with Go's net/http (and so Ollama) and with uvicorn (and so vLLM); see docs/openai.md."""
    client = send(small_server, 2, 3000)
    small_server.wait_until(lambda: used(small_server) > 0, 5)
    client.shutdown(socket.SHUT_WR)
    small_server.wait_until(lambda: idle(small_server), LIMIT_SECONDS)
    client.settimeout(30)
    answer = b""
    while got := client.recv(65536):
        answer += got
    assert b"[DONE]" not in answer


def test_half_closed_client_gets_what_is_not_generated(small_server):
    client = socket.create_connection(("127.0.0.1", small_server.port))
    client.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    client.settimeout(30)
    assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_slow_reader_ends_alone():
    """A client that does not read loses its stream after --write-timeout; another one's goes on."""
    slow_server = Server("--write-timeout", "1")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", slow_server.port))
    # Log-probabilities of four choices make the answer larger than all buffers between the two, of
    # which the kernel's grow to several MiB.
    body = json.dumps({"prompt": [7, 7], "stream": True, "max_tokens": 4000, "ignore_eos": True,
                       "logprobs": 20, "n": 4}).encode()
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                   % len(body) + body)
    slow_server.wait_until(lambda: running(slow_server) >= 1, 5)
    other = send(slow_server, 2, 50)
    other.settimeout(30)
    answer = b""
    while b"[DONE]" not in answer:
        answer += other.recv(65536)
    other.close()
    # The engine may be done with it by then; the write that never ends is what ends it.
    cancelled = 'tutti_requests_total{model_name="demo:latest",outcome="cancelled"}'
    slow_server.wait_until(lambda: slow_server.metrics()[cancelled] == 1, 30)
    slow_server.wait_until(lambda: idle(slow_server), LIMIT_SECONDS)
    client.close()
    assert slow_server.stop() == 0
