"""The `openai` package against the server: whole and streaming, sync and async."""
import json
import urllib.request

import openai
import pytest

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 24}


def chat(client, model, **options):
    return client.chat.completions.create(model=model, messages=MESSAGES, **{**GREEDY, **options})


def test_models(openai_client, model):
    card = openai_client.models.list().data[0]
    assert card.object == "model" and card.max_model_len == 4096
    assert openai_client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("no-such-model")


def test_chat_whole(openai_client, model):
    reply = chat(openai_client, model)
    assert reply.object == "chat.completion" and reply.id.startswith("chatcmpl-")
    choice = reply.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = reply.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 24


def test_chat_stream_equals_whole(openai_client, model):
    whole = chat(openai_client, model, max_tokens=60)
    chunks = list(chat(openai_client, model, max_tokens=60, stream=True,
                       stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert finishes == [whole.choices[0].finish_reason]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


async def test_async_stream(server, model):
    async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, **GREEDY)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
        whole = await client.chat.completions.create(model=model, messages=MESSAGES, **GREEDY)
        assert text == whole.choices[0].message.content


def test_seed_repeats_and_differs(openai_client, model):
    def sample(seed):
        return chat(openai_client, model, temperature=1.5, seed=seed, max_tokens=40).choices[0].message.content
    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(5)}) > 1


def test_n_choices(openai_client, model):
    reply = chat(openai_client, model, n=3, temperature=1.2, seed=1)
    assert [c.index for c in reply.choices] == [0, 1, 2]
    chunks = list(chat(openai_client, model, n=3, temperature=1.2, seed=1, stream=True))
    texts = {0: "", 1: "", 2: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert list(texts.values()) == [c.message.content for c in reply.choices]


def test_logprobs(openai_client, model):
    reply = chat(openai_client, model, logprobs=True, top_logprobs=5)
    content = reply.choices[0].logprobs.content
    stopped = reply.choices[0].finish_reason == "stop"
    assert len(content) == reply.usage.completion_tokens - (1 if stopped else 0) or len(content) == reply.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 5
        assert token.top_logprobs[0].logprob == max(t.logprob for t in token.top_logprobs)
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # greedy
    assert b"".join(bytes(t.bytes) for t in content).decode() == reply.choices[0].message.content


def test_stop_strings_never_leak(openai_client, model):
    full = chat(openai_client, model, max_tokens=60).choices[0].message.content
    stop = full[5:9]
    expected = full[:full.index(stop)]
    reply = chat(openai_client, model, max_tokens=60, stop=[stop])
    assert reply.choices[0].message.content == expected
    assert reply.choices[0].finish_reason == "stop"
    streamed = "".join(c.choices[0].delta.content or "" for c in
                       chat(openai_client, model, max_tokens=60, stop=stop, stream=True))
    assert streamed == expected
    kept = chat(openai_client, model, max_tokens=60, stop=[stop],
                extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].message.content == expected + stop


def test_extra_sampling_fields(openai_client, model):
    one = chat(openai_client, model, temperature=5, extra_body={"top_k": 1})
    assert one.choices[0].message.content == chat(openai_client, model).choices[0].message.content
    exact = chat(openai_client, model, max_tokens=30, extra_body={"ignore_eos": True})
    assert exact.usage.completion_tokens == 30 and exact.choices[0].finish_reason == "length"
    chat(openai_client, model, temperature=0.8, seed=1, frequency_penalty=0.5, presence_penalty=-0.5,
         top_p=0.9, extra_body={"min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.1,
                                "min_tokens": 4, "stop_token_ids": [5]})


def test_logit_bias_forces_a_token(openai_client, model):
    reply = chat(openai_client, model, max_tokens=5, logit_bias={"300": 100}, logprobs=True)
    assert len({t.token for t in reply.choices[0].logprobs.content}) == 1


def test_completions(openai_client, model):
    text = openai_client.completions.create(model=model, prompt="Once upon a time", temperature=0)
    assert text.object == "text_completion" and text.usage.completion_tokens <= 16
    several = openai_client.completions.create(
        model=model, prompt=["Once upon", "def f(x):"], temperature=0, n=2, max_tokens=8)
    assert [c.index for c in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text
    echoed = openai_client.completions.create(
        model=model, prompt="Once upon a time", temperature=0, echo=True)
    assert echoed.choices[0].text == "Once upon a time" + text.choices[0].text
    streamed = "".join(c.choices[0].text for c in openai_client.completions.create(
        model=model, prompt="Once upon a time", temperature=0, stream=True))
    assert streamed == text.choices[0].text
    ids = openai_client.completions.create(model=model, prompt=[10, 20, 30], temperature=0, max_tokens=4)
    assert ids.usage.prompt_tokens == 3
    lists = openai_client.completions.create(
        model=model, prompt=[[10, 20, 30], [40]], temperature=0, max_tokens=4, logprobs=2)
    assert lists.usage.prompt_tokens == 4 and len(lists.choices) == 2
    assert len(lists.choices[0].logprobs.tokens) == len(lists.choices[0].logprobs.token_logprobs)


@pytest.mark.parametrize("field, options", [
    ("tools", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("temperature", {"temperature": -1}),
    ("top_p", {"top_p": 1.5}),
    ("n", {"n": 0}),
    ("max_tokens", {"max_tokens": -5}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
    ("logit_bias", {"logit_bias": {"999999": 1}}),
    ("top_k", {"extra_body": {"top_k": 1.5}}),
    ("seed", {"extra_body": {"seed": "5"}}),
    ("no_such_field", {"extra_body": {"no_such_field": 1}}),
])
def test_refusals_name_the_field(openai_client, model, field, options):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(openai_client, model, **options)
    body = caught.value.body
    assert set(body) >= {"message", "type", "param", "code"}
    assert field in body["message"] or body["param"] == field


def test_prompt_too_long_has_both_counts(openai_client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(model=model, prompt=[7] * 5000)
    assert "5000" in str(caught.value) and "4096" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(model=model, prompt=[7] * 4000, max_tokens=1000)
    assert "4096" in str(caught.value)


def test_unknown_model_and_route(openai_client, server):
    with pytest.raises(openai.NotFoundError):
        chat(openai_client, "no-such-model")
    request = urllib.request.Request(server.url + "/v1/nothing", data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 404 and "error" in json.load(caught.value)


def test_user_cannot_write_control_tokens(openai_client, model):
    plain = openai_client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "a<|im_end|>b"}], **GREEDY)
    short = openai_client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "ab"}], **GREEDY)
    # As text it takes several tokens; as a control token it would take one.
    assert plain.usage.prompt_tokens >= short.usage.prompt_tokens + 4
