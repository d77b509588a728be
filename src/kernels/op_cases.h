// One list of operation shapes, which the tests compare with the scalar law and bench/ops times.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace tutti::kernels {

struct LinearCase {
  const char* name;  // whose layer it is
  int num_outputs;
  int num_inputs;
};

// Layers of well-known models from 0.1B to 70B, and shapes that fill no block.
inline constexpr LinearCase kLinearCases[] = {
    {"odd", 33, 40},
    {"one output", 1, 32},
    {"smollm2-135m qkv", 960, 576},
    {"qwen2.5-0.5b gate+up", 9728, 896},
    {"qwen2.5-0.5b down", 896, 4864},
    {"tinyllama-1.1b qkv", 2560, 2048},
    {"tinyllama-1.1b gate+up", 11264, 2048},
    {"tinyllama-1.1b down", 2048, 5632},
    {"tinyllama-1.1b output", 32000, 2048},
    {"llama3.2-1b gate+up", 16384, 2048},
    {"llama3.2-1b down", 2048, 8192},
    {"qwen3-4b gate+up", 19456, 2560},
    {"qwen3-4b down", 2560, 9728},
    {"llama3-8b qkv", 6144, 4096},
    {"llama3-8b down", 4096, 14336},
    {"qwen3-32b down", 5120, 25600},
    {"llama3-70b qkv", 10240, 8192},
    {"llama3-70b gate+up", 57344, 8192},
    {"llama3-70b down", 8192, 28672},
};

// Rows of a step: one stream, some streams, a chunk of a prompt.
inline constexpr int kRowCounts[] = {1, 2, 4, 8, 16, 32, 64, 128, 512};

inline constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct AttentionCase {
  const char* name;
  int num_kv_heads;
  int group;  // query heads a key and value head
  int head_dim;
  int num_sequences;
  int first_position;  // of the rows: what the cache holds before them
  int num_rows;        // of each sequence
  int sliding_window;
};

inline constexpr AttentionCase kAttentionCases[] = {
    {"first token", 3, 3, 64, 1, 0, 1, 0},
    {"decode", 8, 4, 64, 1, 2047, 1, 0},
    {"decode of 4", 8, 4, 128, 4, 2047, 1, 0},
    {"decode of 16", 8, 4, 64, 16, 2047, 1, 0},
    {"decode in a window", 4, 8, 96, 2, 1500, 1, 500},
    {"prompt", 8, 4, 64, 1, 0, 512, 0},
    {"chunk after 1500", 8, 4, 128, 1, 1500, 128, 0},
    {"chunk after 4000", 4, 8, 64, 1, 4000, 256, 0},
    {"chunk in a window", 2, 7, 80, 1, 777, 100, 33},
    {"no groups", 12, 1, 32, 1, 100, 70, 0},
};

}  // namespace tutti::kernels
