"""Writes models/phi3-longrope/golden_short.safetensors: transformers' logits of a prompt within the
original context, for which LongRoPE's short factors hold.

    python tests/goldens/make_longrope_short.py

Needs torch, transformers and safetensors. golden.safetensors, of a prompt beyond that context, has
the long factors.
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder = pathlib.Path(__file__).parent / "models" / "phi3-longrope"
input_ids = load_file(folder / "golden.safetensors")["input_ids"][:20]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).double().eval()
assert model.config.original_max_position_embeddings >= len(input_ids)
with torch.no_grad():
    logits = model(input_ids[None].long()).logits[0].float()
save_file({"input_ids": input_ids, "logits": logits.contiguous()}, folder / "golden_short.safetensors")
