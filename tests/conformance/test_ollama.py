"""The `ollama` package against the server."""
import json
import urllib.error
import urllib.request

import ollama
import pytest

MESSAGES = [{"role": "user", "content": "Tell me a story about a cat."}]
GREEDY = {"temperature": 0, "num_predict": 24}


def post(server, path, body):
    request = urllib.request.Request(server.url + path, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.headers, response.read()


def test_root_and_version(server):
    assert server.get("/") == "Ollama is running"
    request = urllib.request.Request(server.url + "/", method="HEAD")
    assert urllib.request.urlopen(request).status == 200
    assert json.loads(server.get("/api/version"))["version"]


def test_lists_and_show(ollama_client):
    listed = ollama_client.list().models[0]
    assert listed.model.endswith(":latest") and len(listed.digest) == 64 and listed.size > 0
    assert listed.details.family == "llama" and listed.details.quantization_level == "BF16"
    running = ollama_client.ps().models[0]
    assert running.model == listed.model
    shown = ollama_client.show(listed.model)
    assert "completion" in shown.capabilities
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.block_count"] == 8
    assert "im_start" in shown.template
    with pytest.raises(ollama.ResponseError) as caught:
        ollama_client.show("no-such-model")
    assert caught.value.status_code == 404


def test_chat_whole_and_stream(ollama_client):
    whole = ollama_client.chat(model="demo", messages=MESSAGES, options=GREEDY)
    assert whole.message.role == "assistant" and whole.message.content
    assert whole.done and whole.done_reason in ("stop", "length")
    assert 0 < whole.eval_count <= 24 and whole.prompt_eval_count > 0
    assert whole.total_duration >= whole.eval_duration > 0 and whole.prompt_eval_duration > 0
    lines = list(ollama_client.chat(model="demo", messages=MESSAGES, options=GREEDY, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]


async def test_async_stream(server):
    client = ollama.AsyncClient(host=server.url)
    whole = await client.chat(model="demo", messages=MESSAGES, options=GREEDY)
    text = ""
    async for line in await client.chat(model="demo", messages=MESSAGES, options=GREEDY, stream=True):
        text += line.message.content
    assert text == whole.message.content


def test_generate(ollama_client):
    whole = ollama_client.generate(model="demo", prompt="Hello!", options=GREEDY)
    assert whole.response and whole.context
    lines = list(ollama_client.generate(model="demo", prompt="Hello!", options=GREEDY, stream=True))
    assert "".join(line.response for line in lines) == whole.response
    chat = ollama_client.chat(model="demo", messages=[{"role": "user", "content": "Hello!"}], options=GREEDY)
    assert chat.message.content == whole.response
    further = ollama_client.generate(model="demo", prompt="And?", context=whole.context, options=GREEDY)
    assert further.prompt_eval_count > len(whole.context)
    assert list(further.context)[:len(whole.context)] == list(whole.context)


def test_generate_system_raw_template(ollama_client):
    with_system = ollama_client.generate(model="demo", prompt="Hi", system="You are terse.", options=GREEDY)
    without = ollama_client.generate(model="demo", prompt="Hi", options=GREEDY)
    assert with_system.prompt_eval_count > without.prompt_eval_count
    raw = ollama_client.generate(model="demo", prompt="Once upon a time", raw=True, options=GREEDY)
    assert raw.prompt_eval_count < without.prompt_eval_count
    template = "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}"
    templated = ollama_client.generate(model="demo", prompt="Hi", template=template, options=GREEDY)
    assert templated.response == without.response
    assert templated.prompt_eval_count == without.prompt_eval_count


def test_ndjson_is_the_default(server):
    headers, body = post(server, "/api/chat", {"model": "demo", "messages": MESSAGES,
                                               "options": {"num_predict": 3, "temperature": 0}})
    assert headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in body.splitlines()]
    assert len(lines) >= 2 and lines[-1]["done"] is True
    for field in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration",
                  "eval_count", "eval_duration"):
        assert isinstance(lines[-1][field], int)


def test_preload(ollama_client, server):
    loaded = ollama_client.generate(model="demo")
    assert loaded.done and loaded.done_reason == "load" and loaded.response == ""
    _, body = post(server, "/api/chat", {"model": "demo", "messages": [], "stream": False})
    assert json.loads(body)["done_reason"] == "load"


def test_long_prompt_is_truncated_not_refused(ollama_client):
    reply = ollama_client.generate(model="demo", prompt="word " * 6000, raw=True,
                                   options={"num_predict": 4, "temperature": 0})
    assert reply.prompt_eval_count < 4096 and reply.done


def test_num_predict_is_clamped(ollama_client):
    reply = ollama_client.generate(model="demo", prompt="word " * 4000, raw=True,
                                   options={"num_predict": 100000, "temperature": 0, "stop": ["zzzz"]})
    assert reply.done_reason in ("length", "stop")


@pytest.mark.parametrize("field, body", [
    ("format", {"format": "json"}),
    ("images", {"images": ["aGk="]}),
    ("suffix", {"suffix": "x"}),
    ("temperature", {"options": {"temperature": "hot"}}),
    ("top_p", {"options": {"top_p": 7}}),
    ("keep_alive", {"keep_alive": "5 parsecs"}),
])
def test_refusals_name_the_field(server, field, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(server, "/api/generate", {"model": "demo", "prompt": "Hi", **body})
    assert caught.value.code == 400
    assert field in json.load(caught.value)["error"]


def test_unknown_options_are_ignored(server):
    _, body = post(server, "/api/generate", {"model": "demo", "prompt": "Hi", "stream": False,
                                             "options": {"no_such_option": 1, "num_predict": 2}})
    assert json.loads(body)["done"]


def test_unknown_model(ollama_client):
    with pytest.raises(ollama.ResponseError) as caught:
        ollama_client.chat(model="no-such-model", messages=MESSAGES)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_timeout_in_the_body(server, path):
    """A deadline that passes ends the answer with an error; one that is far off changes nothing."""
    question = {"model": "demo", "messages": MESSAGES, "prompt": "Once", "stream": False}
    question.pop("prompt" if path == "/api/chat" else "messages")
    post(server, path, {**question, "options": GREEDY, "timeout": 60})
    for timeout, status, words in ((0.001, 504, ""), (0, 400, "timeout"), ("5", 400, "timeout")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server, path, {**question, "options": {"num_predict": 2000}, "timeout": timeout})
        assert caught.value.code == status
        assert words in json.loads(caught.value.read())["error"]
