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


def test_half_closed_writer_still_gets_its_answer(small_server):
    # `printf … | nc` closes its sending side and waits for the answer; that is no disconnect for
    # HTTP, but a server that streams cannot tell the two apart. Either way nothing may be left.
    client = send(small_server, 2, 3)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(30)
    while client.recv(65536):
        pass
    small_server.wait_until(lambda: idle(small_server), LIMIT_SECONDS)
