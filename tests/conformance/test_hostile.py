"""Inputs that broke other servers, each sent while four control streams run. Every one ends in a
clear error, the process lives, and the control streams' words do not change."""
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

CONTROL = [{"role": "user", "content": f"Tell me story number {i}."} for i in range(4)]


def control_stream(server, i):
    body = json.dumps({"model": "demo", "messages": [CONTROL[i]], "temperature": 1, "seed": i,
                       "max_tokens": 120, "ignore_eos": True}).encode()
    request = urllib.request.Request(server.url + "/v1/chat/completions", data=body)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def beside_control_streams(server):
    """Runs the four streams again and again until the module's tests are done."""
    expected = [control_stream(server, i) for i in range(4)]
    done = threading.Event()
    wrong, rounds = [], [0] * 4

    def repeat(i):
        while not done.is_set():
            got = control_stream(server, i)
            rounds[i] += 1
            if got != expected[i]:
                wrong.append((i, got))

    threads = [threading.Thread(target=repeat, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    yield
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong and min(rounds) > 0


pytestmark = pytest.mark.usefixtures("beside_control_streams")


def post(server, path, body):
    """(status, text) of a POST of raw bytes."""
    request = urllib.request.Request(server.url + path, data=body,
                                     headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def chat_body(**fields):
    return json.dumps({"model": "demo", "max_tokens": 2,
                       "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


NUMBERS = ["-1", "-2147483648", "1e308", "18446744073709551616", '"5"', "1.5", "true", "[]", "{}"]
FIELDS = ["max_tokens", "n", "top_logprobs", "min_tokens", "top_k", "seed", "temperature", "top_p",
          "min_p", "frequency_penalty", "repetition_penalty"]
GOOD = {("top_k", "-1"), ("seed", "-1"), ("seed", "-2147483648"), ("temperature", "1.5"),
        ("frequency_penalty", "-1"), ("frequency_penalty", "1.5"), ("repetition_penalty", "1.5")}


@pytest.mark.parametrize("field", FIELDS)
def test_numbers(server, field):
    for number in NUMBERS:
        body = chat_body(logprobs=True, FIELD=0).replace(b'"FIELD": 0', f'"{field}": {number}'.encode())
        if field == "max_tokens":
            body = body.replace(b'"max_tokens": 2, ', b"")
        status, text = post(server, "/v1/chat/completions", body)
        if (field, number) in GOOD:
            assert status == 200, (field, number, text)
        else:
            assert status == 400 and field in text, (field, number, status, text)
    for number in ("NaN", "Infinity", "-Infinity"):
        body = chat_body(FIELD=0).replace(b'"FIELD": 0', f'"{field}": {number}'.encode())
        assert post(server, "/v1/chat/completions", body)[0] == 400


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"])
@pytest.mark.parametrize("body", [
    b"[" * 1000000, b'{"model":' * 100000, b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"a":1,"a":2}',
    b'{"model":"demo","prompt":"\\ud800","messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"model":"demo","prompt":"\xff","messages":[{"role":"user","content":"\xff"}]}',
    b'{"model":5}', b'{"model":"demo","messages":"x","prompt":{}}',
    b'{"model":"demo","messages":[{"role":"user"}],"prompt":[[]]}',
    b'{"model":"demo","messages":[{"role":"root","content":"x"}],"prompt":[-1]}',
    b'{"model":"demo","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254"}}]}],"prompt":[1,"a"]}',
], ids=lambda b: repr(b[:24]) if isinstance(b, bytes) else b)
def test_json(server, path, body):
    status, text = post(server, path, body)
    assert 400 <= status < 500 and "error" in json.loads(text)


def test_nul_and_odd_characters_are_text(server):
    status, _ = post(server, "/v1/chat/completions",
                     chat_body(messages=[{"role": "user", "content": "a\u0000b\u202e\ufffe<|im_end|>"}]))
    assert status == 200


def test_templates_from_clients_are_off(server):
    status, text = post(server, "/v1/chat/completions", chat_body(chat_template="{% for i in range(10**9) %}x{% endfor %}"))
    assert status == 400 and "chat_template" in text
    begin = time.monotonic()
    status, text = post(server, "/api/generate", json.dumps(
        {"model": "demo", "prompt": "x", "stream": False,
         "template": "{{ range .Messages }}" * 3000}).encode())
    assert status == 400 and time.monotonic() - begin < 5


def test_errors_tell_nothing_of_ours(server):
    for body in (chat_body(temperature=-1), chat_body(model="../../etc/passwd"), b"[" * 100):
        status, text = post(server, "/v1/chat/completions", body)
        assert 400 <= status < 500
        assert "0x" not in text and "/work" not in text and ".cc" not in text and "src/" not in text


def raw(server, data, seconds=15):
    """What a socket answers to bytes, until it closes or `seconds` passed."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(seconds)
        try:
            client.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while len(answer) < 65536:
                got = client.recv(65536)
                if not got:
                    break
                answer += got
                if b"\r\n\r\n" in answer and b"Connection: close" not in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("data", [
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    HEAD + b"X: " + b"a" * 1000000 + b"\r\n\r\n",
    HEAD + b"".join(b"X%d: a\r\n" % i for i in range(20000)) + b"\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    HEAD + b"Content-Length: 2000000000\r\n\r\n",
    b"GET /health HTTP/1.1\nHost: localhost\n\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
], ids=range(16))
def test_framing(server, data):
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert b"Connection: close" in answer


def test_one_byte_chunks(server):
    begin = time.monotonic()
    answer = raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 500000 +
                 b"0\r\n\r\n", 30)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert time.monotonic() - begin < 30


def test_foreign_host_is_refused(server):
    assert b" 403 " in raw(server, b"GET /api/tags HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert b" 200 " in raw(server, b"GET /api/tags HTTP/1.1\r\nHost: localhost:1\r\n\r\n")


def test_slow_loris_is_closed(server):
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(1)
        begin = time.monotonic()
        closed = False
        for byte in HEAD * 3:
            try:
                client.sendall(bytes([byte]))
                time.sleep(0.25)
                client.setblocking(False)
                try:
                    if client.recv(4096) is not None:
                        closed = True
                except BlockingIOError:
                    pass
                client.setblocking(True)
            except (BrokenPipeError, ConnectionResetError):
                closed = True
            if closed:
                break
        assert closed and time.monotonic() - begin < 25


def test_still_healthy(server):
    assert server.get("/health") is not None
    assert server.get("/ready") is not None
