"""Many clients at once: nobody sees another's words, everybody's stream ends once, and an answer is
the same in company as alone."""
import asyncio
import concurrent.futures
import json
import random
import urllib.error
import urllib.request

import httpx
import ollama
import openai

from conftest import Server

WORDS = "amber basil cedar delta ember fable grove haven ivory jewel karma lemon maple nylon opal pearl".split()


def conversation(i):
    canary = f"{WORDS[i]}{7919 * (i + 1)}"
    text = f"My secret word is {canary}. " + "Tell me a long story. " * (1 + i % 5)
    return canary, [{"role": "user", "content": text}]


def options(i):
    return {"temperature": 1.0, "seed": 100 + i, "max_tokens": 40 + 5 * i}


async def ask_openai(client, model, i):
    _, messages = conversation(i)
    text, ends = "", 0
    async for chunk in await client.chat.completions.create(
            model=model, messages=messages, stream=True, **options(i)):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            ends += choice.finish_reason is not None
    return text, ends


async def ask_ollama(client, model, i):
    _, messages = conversation(i)
    chosen = options(i)
    text, ends = "", 0
    async for line in await client.chat(
            model=model, messages=messages, stream=True,
            options={"temperature": chosen["temperature"], "seed": chosen["seed"],
                     "num_predict": chosen["max_tokens"]}):
        text += line.message.content
        ends += bool(line.done)
    return text, ends


async def test_sixteen_clients_of_both_kinds(server, model):
    openai_client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    ollama_client = ollama.AsyncClient(host=server.url)

    def ask(i):
        return ask_openai(openai_client, model, i) if i % 2 else ask_ollama(ollama_client, model, i)

    alone = [await ask(i) for i in range(16)]
    rng = random.Random(5)

    async def later(i):
        await asyncio.sleep(rng.random() * 0.3)
        return await ask(i)

    for _ in range(3):
        together = await asyncio.gather(*(later(i) for i in range(16)))
        assert together == alone
    canaries = [conversation(i)[0] for i in range(16)]
    for i, (text, ends) in enumerate(alone):
        assert ends == 1
        assert not [c for j, c in enumerate(canaries) if j != i and c in text]
    await openai_client.close()


async def test_every_stream_has_one_terminal_event(server, model):
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        async def one(i):
            body = {"model": model, "messages": conversation(i % 16)[1], "stream": True,
                    "max_tokens": 1 + i, "seed": i}
            reply = await client.post("/v1/chat/completions", json=body)
            events = [e for e in reply.text.split("\n\n") if e]
            assert events[-1] == "data: [DONE]" and events.count("data: [DONE]") == 1
            chunks = [json.loads(e[6:]) for e in events[:-1]]
            assert sum(c["choices"][0]["finish_reason"] is not None for c in chunks) == 1
        await asyncio.gather(*(one(i) for i in range(32)))


def test_a_full_queue_refuses_what_neither_runs_nor_waits():
    """Eight come together where two run and four wait: two are refused, before anything is sent."""
    small = Server("--max-running", "2", "--max-waiting", "4")

    def ask(path, body):
        request = urllib.request.Request(small.url + path, data=json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    try:
        long = {"prompt": "Once", "max_tokens": 300, "ignore_eos": True, "stream": True}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask("/v1/completions", long), range(8)))
        assert sorted(code for code, _, _ in answers) == 6 * [200] + 2 * [429]
        assert all(int(headers["Retry-After"]) >= 1 for code, headers, _ in answers if code == 429)
        # All places are free again.
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert {code for code, _, _ in pool.map(lambda _: ask("/v1/completions", long), range(6))} == {200}
    finally:
        assert small.stop() == 0
