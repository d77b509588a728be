#include "device/ops.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "device/cpu_ops.h"
#include "device/isa.h"
#include "device/reference_ops.h"
#include "kernels/quantized_kernels.h"

namespace tutti::device {

const char* to_string(ComputeClass compute_class) {
  switch (compute_class) {
    case ComputeClass::kF32:
      return "f32";
    case ComputeClass::kBf16:
      return "bf16";
    case ComputeClass::kInt8:
      return "int8";
    case ComputeClass::kQ8:
      return "q8";
  }
  return "?";
}

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::kRef:
      return "ref";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
    case Isa::kNeon:
      return "neon";
  }
  return "?";
}

const char* to_string(KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kAuto:
      return "auto";
    case KvDtype::kBf16:
      return "bf16";
    case KvDtype::kInt8:
      return "int8";
  }
  return "?";
}

Result<ComputeClass> parse_compute_class(const std::string& word) {
  for (const ComputeClass known :
       {ComputeClass::kF32, ComputeClass::kBf16, ComputeClass::kInt8, ComputeClass::kQ8}) {
    if (word == to_string(known)) return known;
  }
  return invalid_argument("compute",
                          fmt::format("compute is bf16, int8, q8 or f32, not \"{}\"", word));
}

Result<Isa> parse_isa(const std::string& word) {
  for (const Isa known : {Isa::kRef, Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    if (word == to_string(known)) return known;
  }
  return invalid_argument("isa",
                          fmt::format("isa is ref, avx2, avx512, amx or neon, not \"{}\"", word));
}

ComputeClass choose_compute_class(std::span<const TensorView> weights, Isa isa) {
  bool any_by_q8 = false, any_by_int8 = false, all_with_superblocks = true;
  for (const TensorView& weight : weights) {
    if (weight.shape.size() != 2) continue;
    any_by_q8 |= quantized_kernels_of(ComputeClass::kQ8, isa)->takes(weight.dtype);
    if (!quantized_kernels_of(ComputeClass::kInt8, isa)->takes(weight.dtype)) continue;
    any_by_int8 = true;
    all_with_superblocks &= weight.dtype == DType::kQ4_K || weight.dtype == DType::kQ5_K;
  }
  if (isa == Isa::kAmx && any_by_int8 && all_with_superblocks) return ComputeClass::kInt8;
  return any_by_q8 ? ComputeClass::kQ8 : ComputeClass::kBf16;
}

void check_copy(const KvCache& cache, BlockId from, BlockId to, int num_positions) {
  const auto is_block = [&](BlockId block) {
    return block.value >= 0 && block.value < cache.num_blocks();
  };
  TUTTI_CHECK(is_block(from) && is_block(to) && from != to)
      << "block " << from.value << " to " << to.value << " of " << cache.num_blocks();
  TUTTI_CHECK(num_positions >= 1 && num_positions <= kBlockSize) << num_positions << " positions";
}

void check_block(const KvCache& cache, BlockId block, std::size_t num_bytes, std::size_t expected) {
  TUTTI_CHECK(block.value >= 0 && block.value < cache.num_blocks())
      << "block " << block.value << " of " << cache.num_blocks();
  TUTTI_CHECK(num_bytes == expected) << num_bytes << " bytes for a block of " << expected;
}

Result<KvDtype> parse_kv_dtype(const std::string& word) {
  for (const KvDtype known : {KvDtype::kAuto, KvDtype::kBf16, KvDtype::kInt8}) {
    if (word == to_string(known)) return known;
  }
  if (word == "bfloat16") return KvDtype::kBf16;
  return invalid_argument(
      "kv_cache_dtype",
      fmt::format("kv_cache_dtype is auto, bf16 (bfloat16) or int8, not \"{}\"", word));
}

void Ops::add_and_norm(const ResidualRows& rows, int num_rows, int width) {
  if (rows.has_residual) {
    if (!rows.post_norm.empty()) {
      rms_norm(rows.block, num_rows, width, rows.post_norm, rows.epsilon, rows.block);
    }
    add_scaled(rows.hidden, rows.block, rows.scale, static_cast<std::size_t>(num_rows) * width);
  }
  if (rows.pre_norm.empty()) return;
  rms_norm(rows.hidden, num_rows, width, rows.pre_norm, rows.epsilon, rows.block);
}

Result<std::unique_ptr<Ops>> Ops::create(const Options& options) {
  const std::vector<Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), options.isa) == isas.end()) {
    return invalid_argument("isa", fmt::format("this machine has no {} instructions (best: {})",
                                               to_string(options.isa), to_string(isas.back())));
  }
  if (options.num_threads < 0) {
    return invalid_argument("threads",
                            fmt::format("threads must be >= 0, not {}", options.num_threads));
  }
  if (options.compute_class == ComputeClass::kF32) {
    if (options.kv_dtype != KvDtype::kAuto) {
      return invalid_argument(
          "kv_cache_dtype",
          fmt::format("kv_cache_dtype {} is not for compute class f32, whose cache is float32; "
                      "use auto",
                      to_string(options.kv_dtype)));
    }
    return make_reference_ops(options);
  }
  const bool quantized = options.compute_class != ComputeClass::kBf16;
  if (quantized && quantized_kernels_of(options.compute_class, options.isa) == nullptr) {
    return invalid_argument("compute",
                            fmt::format("no {} kernels for the instruction set {}",
                                        to_string(options.compute_class), to_string(options.isa)));
  }
  return make_cpu_ops(options);
}

}  // namespace tutti::device
