#!/usr/bin/env python3
"""Writes cases.json: next-token distributions as transformers' own logits processors give them.

    python make_sampling_cases.py > cases.json        (needs torch and transformers)

Each case: `logits` (f32), the tokens before (`prompt`, `generated`), the parameters in our words,
and `expected`, pairs [token, probability] of the tokens that may be drawn, by ascending id. The
processors are applied in the order in which transformers' generate() builds them; frequency and
presence penalties, which it does not have, are vLLM's formula
(logits -= frequency * count + presence * (count > 0), over generated tokens).
"""
import json
import random

import torch
import transformers
from transformers.generation import logits_process as hf

VOCAB = 48


def expected(case):
    params = case["params"]
    prompt, generated = case["prompt"], case["generated"]
    scores = torch.tensor([case["logits"]], dtype=torch.float32)
    tokens = prompt + generated
    ids = torch.tensor([tokens], dtype=torch.long)
    last_n = params.get("repeat_last_n", -1)
    window = tokens if last_n < 0 else tokens[len(tokens) - min(last_n, len(tokens)):]

    if "logit_bias" in params:
        bias = [[[token], value] for token, value in params["logit_bias"]]
        scores = hf.SequenceBiasLogitsProcessor(bias)(ids, scores)
    if "min_tokens" in params:
        processor = hf.MinNewTokensLengthLogitsProcessor(
            len(prompt), params["min_tokens"], case["end_tokens"] + params.get("stop_token_ids", []))
        scores = processor(ids, scores)
    if "repeat_penalty" in params and window:
        processor = hf.RepetitionPenaltyLogitsProcessor(params["repeat_penalty"])
        scores = processor(torch.tensor([window]), scores)
    counts = torch.zeros(1, VOCAB)
    for token in window[len(window) - min(len(window), len(generated)):]:
        counts[0, token] += 1
    scores = scores - params.get("frequency_penalty", 0.0) * counts
    scores = scores - params.get("presence_penalty", 0.0) * (counts > 0)
    if params["temperature"] == 0:
        return [[int(scores.argmax()), 1.0]]

    scores = hf.TemperatureLogitsWarper(params["temperature"])(ids, scores)
    if params.get("top_k", 0) > 0:
        scores = hf.TopKLogitsWarper(params["top_k"])(ids, scores)
    if params.get("top_p", 1.0) < 1.0:
        scores = hf.TopPLogitsWarper(params["top_p"])(ids, scores)
    if params.get("min_p", 0.0) > 0.0:
        scores = hf.MinPLogitsWarper(params["min_p"])(ids, scores)
    if params.get("typical_p", 1.0) < 1.0:
        scores = hf.TypicalLogitsWarper(params["typical_p"])(ids, scores)
    probabilities = scores.softmax(-1)[0]
    kept = (scores[0] > -float("inf")).nonzero().flatten().tolist()
    return [[token, round(float(probabilities[token]), 9)] for token in kept]


def random_case(rng, names):
    case = {
        "logits": [round(rng.gauss(0, rng.choice([0.5, 2.0, 6.0])), 4) for _ in range(VOCAB)],
        "prompt": [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 24))],
        "generated": [rng.randrange(VOCAB) for _ in range(rng.randrange(0, 24))],
        "end_tokens": rng.sample(range(VOCAB), 2),
        "params": {"temperature": 1.0},
    }
    values = {
        "temperature": lambda: rng.choice([0.0, 0.2, 0.7, 1.3, 4.0]),
        "top_k": lambda: rng.choice([1, 2, 5, 20, VOCAB, 100]),
        "top_p": lambda: round(rng.uniform(0.05, 0.99), 3),
        "min_p": lambda: round(rng.uniform(0.01, 0.5), 3),
        "typical_p": lambda: round(rng.uniform(0.1, 0.98), 3),
        "repeat_penalty": lambda: rng.choice([0.7, 1.1, 1.5, 3.0]),
        "repeat_last_n": lambda: rng.choice([-1, 0, 3, 10, 64]),
        "frequency_penalty": lambda: rng.choice([-1.5, 0.4, 2.0]),
        "presence_penalty": lambda: rng.choice([-0.7, 0.5, 1.5]),
        "logit_bias": lambda: [[token, rng.choice([-100.0, -2.5, 3.0, 100.0])]
                               for token in sorted(rng.sample(range(VOCAB), 3))],
        "min_tokens": lambda: rng.choice([1, 10, 30]),
        "stop_token_ids": lambda: rng.sample(range(VOCAB), 2),
    }
    for name in names:
        case["params"][name] = values[name]()
    return case


def main():
    rng = random.Random(20240611)
    penalties = ["repeat_penalty", "frequency_penalty", "presence_penalty"]
    single = ["temperature", "top_k", "top_p", "min_p", "typical_p", "logit_bias", *penalties]
    cases = [random_case(rng, [name]) for name in single for _ in range(8)]
    cases += [random_case(rng, ["min_tokens", "stop_token_ids"]) for _ in range(8)]
    cases += [random_case(rng, [*penalties, "repeat_last_n"]) for _ in range(16)]
    everything = [*single, "repeat_last_n", "min_tokens", "stop_token_ids"]
    for _ in range(120):
        cases.append(random_case(rng, rng.sample(everything, rng.randrange(2, len(everything)))))
    # Equal logits at top_k's edge: transformers keeps every token that equals the k-th.
    for top_k in (1, 10, 30):
        case = random_case(rng, [])
        case["logits"] = [float(value) for value in ([5, 4, 4, 4, 3, 3] * VOCAB)[:VOCAB]]
        case["params"]["top_k"] = top_k
        cases.append(case)
    for case in cases:
        case["expected"] = expected(case)
    print(json.dumps({"transformers": transformers.__version__, "vocab": VOCAB, "cases": cases},
                     separators=(",", ":")).replace('{"logits"', '\n{"logits"'))


main()
