// The bound table of operations: what a forward pass may ask of the machine.
//
// An Ops is made once for a compute class and an instruction
// set; it owns the thread pool and every operation is split over it. Activations are f32,
// row-major [rows, columns]. A row's result never depends on the other rows of the call, on the
// number of threads or on the instruction set (DESIGN.md, section 6).
//
// Thread safety: one thread calls it (the engine's); the pool works inside the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "tensor/tensor_view.h"

namespace tutti {
class ThreadPool;
}

namespace tutti::device {

class RepackCache;

// How linear layers are computed; all else is the same for every class but f32.
enum class ComputeClass {
  kF32,   // the scalar reference, for checking
  kBf16,  // weights and activations rounded to bf16
  // Quantised weights as small integers, activations as int8; other weights as kBf16:
  kInt8,  // integer sums over 256 inputs, shaped for AMX; Q6_K and Q8_0 as kQ8
  kQ8,    // integer sums over 32 inputs, shaped for AVX2 and VNNI
};
enum class Isa { kRef, kAvx2, kAvx512, kAmx, kNeon };

const char* to_string(ComputeClass compute_class);  // "f32", "bf16", "int8", "q8"
const char* to_string(Isa isa);                     // "ref", "avx2", "avx512", "amx", "neon"
Result<ComputeClass> parse_compute_class(const std::string& word);
Result<Isa> parse_isa(const std::string& word);

// The instruction sets this machine has (x86: CPUID, XCR0, and for AMX the kernel's permission;
// 64-bit ARM has NEON), best last. kRef is always there.
std::vector<Isa> available_isas();

// The class that `--compute auto` means for a model with these weights on this machine. Without a
// quantised matrix: bf16. Else q8; but with AMX int8, where all matrices that int8 takes are Q4_K
// or Q5_K: for these the usual activations are int8 in 256s too, while for the others int8 would be
// several times as far from f32 as the usual way is (docs/accuracy.md).
ComputeClass choose_compute_class(std::span<const TensorView> weights, Isa isa);

// A weight matrix in the layout the kernels read. Rows are outputs. Move-only; either owns its
// repacked bytes or points into the mapped file, which must outlive it.
class Matrix;
struct MatrixDeleter {
  void operator()(Matrix*) const;
};
using MatrixPtr = std::unique_ptr<Matrix, MatrixDeleter>;

// Bytes for keys and values of all layers. Opaque: written by store_kv, read by attention.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual int num_blocks() const = 0;
};

// How keys and values are kept: bf16, or int8 with a scale for each position and head
// (kernels/kv_page.h), which takes half the memory and the reads. kAuto is bf16, and float32 in
// compute class f32, which has nothing else.
enum class KvDtype { kAuto, kBf16, kInt8 };

const char* to_string(KvDtype dtype);  // "auto", "bf16", "int8"
// Also vLLM's "bfloat16".
Result<KvDtype> parse_kv_dtype(const std::string& word);

struct KvShape {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// The rows of one sequence in a batch.
struct AttentionSequence {
  int first_row = 0;                     // in the batch
  int num_rows = 0;                      // >= 1
  Position first_position = 0;           // of the first row; row i is at first_position + i
  std::span<const BlockId> block_table;  // covers positions [0, first_position + num_rows)
};

// What copy_kv demands: two blocks of the cache, and at most all of their positions.
void check_copy(const KvCache& cache, BlockId from, BlockId to, int num_positions);
// What save_kv and load_kv demand: a block of the cache, and so many bytes as it has.
void check_block(const KvCache& cache, BlockId block, std::size_t num_bytes, std::size_t expected);

struct AttentionArgs {
  int layer = 0;
  int num_heads = 0;       // query heads; a multiple of num_kv_heads
  float scale = 0;         // of q.k before the softmax
  int sliding_window = 0;  // 0: none; w: a row sees itself and the w - 1 positions before it
  std::span<const AttentionSequence> sequences;
};

struct RopeTable {
  // cos and sin of position * inv_freq[i], already multiplied with the scaling's attention factor.
  // [num_positions, half_dim] each.
  std::vector<float> cos, sin;
  int half_dim = 0;  // rotated pairs; 2 * half_dim <= head_dim, the rest passes through
  int num_positions = 0;
};

class Ops {
 public:
  struct Options {
    ComputeClass compute_class = ComputeClass::kBf16;
    Isa isa = Isa::kRef;  // one of available_isas()
    int num_threads = 0;  // 0: one for each physical core given
    KvDtype kv_dtype = KvDtype::kAuto;
    // Where panels of small integers are kept and looked for; null: they are made at each load.
    std::shared_ptr<RepackCache> repack_cache = nullptr;
  };
  // Errors: kInvalidArgument when the machine lacks `isa`, or `isa` has no kernels of the class, or
  // the class has no cache of `kv_dtype`.
  static Result<std::unique_ptr<Ops>> create(const Options& options);
  virtual ~Ops() = default;

  virtual ComputeClass compute_class() const = 0;
  virtual Isa isa() const = 0;
  virtual ThreadPool& pool() = 0;

  // Takes a weight [N, K] of any supported dtype: repacked, or used where it is mapped.
  // `row_order` permutes the rows (output row i is weight row row_order[i]); empty: as they are.
  // Errors: kUnsupported for a type the class has no kernel for, naming it.
  virtual Result<MatrixPtr> make_matrix(const TensorView& weight,
                                        std::span<const std::int32_t> row_order = {}) = 0;
  // At least the bytes that a matrix [N, K] made of `weight` takes, its own and those mapped, and
  // at most 64 and four bytes a row more.
  virtual std::size_t weight_bytes(const TensorView& weight) const = 0;
  // Bytes the matrix holds itself (not those mapped).
  virtual std::size_t owned_bytes(const Matrix& matrix) const = 0;
  // Whether the matrix is read where it is mapped; else the file is not needed any more.
  virtual bool reads_file(const Matrix& matrix) const = 0;

  // y[m, n] = sum_k x[m, k] * w[n, k] + bias[n]. x [M, K], y [M, N]; bias empty or N.
  virtual void linear(const Matrix& weight, const float* x, int num_rows, float* y,
                      std::span<const float> bias = {}) = 0;
  // Several matrices over the same x: the activations are converted once (q, k, v; gate, up).
  struct LinearOutput {
    const Matrix* weight;
    float* y;
    std::span<const float> bias;
    // Activations of 16 bits where the class rounds them to 8 and the weights, of 8 themselves, err
    // less than that (two_part_linear.h). For an output by itself: the logits.
    bool wide_activations = false;
  };
  virtual void linear_group(std::span<const LinearOutput> outputs, const float* x,
                            int num_rows) = 0;

  // Rows [rows, width] of the residual stream and what is to be added to them before they are
  // normed: block = rms_norm(block, post_norm); hidden += scale * block; block = rms_norm(hidden,
  // pre_norm). A norm without weights is left out.
  struct ResidualRows {
    float* hidden;
    float* block;              // never hidden
    bool has_residual = true;  // false: block is only written
    float scale = 1;
    float epsilon = 0;
    std::span<const float> post_norm = {}, pre_norm = {};

    // What the layers behind read.
    const float* input() const { return pre_norm.empty() ? hidden : block; }
  };
  void add_and_norm(const ResidualRows& rows, int num_rows, int width);
  // add_and_norm, then linear_group over rows.input(). The bits are those of the two calls; a
  // device may make each row when it is converted for the product, while it is in cache.
  virtual void add_norm_linear(std::span<const LinearOutput> outputs, const ResidualRows& rows,
                               int num_rows) = 0;
  // silu_mul into `gate`, then linear over it; as add_norm_linear.
  virtual void silu_mul_linear(const LinearOutput& output, float* gate, const float* up,
                               int num_rows) = 0;

  // y[i] = row tokens[i] of the table as f32, times `scale`. y [tokens, K].
  virtual void embed(const Matrix& table, std::span<const TokenId> tokens, float scale,
                     float* y) = 0;

  // y = x / sqrt(mean(x^2) + epsilon) * weight, over rows of `width`. y may be x.
  virtual void rms_norm(const float* x, int num_rows, int width, std::span<const float> weight,
                        float epsilon, float* y) = 0;

  // Rotates pairs (i, i + half_dim) of every head of x [rows, heads, head_dim] in place by the
  // row's position.
  virtual void rope(float* x, std::span<const Position> positions, int num_heads, int head_dim,
                    const RopeTable& table) = 0;

  // y = silu(gate) * up; all [rows, width]. y may be gate.
  virtual void silu_mul(const float* gate, const float* up, int num_rows, int width, float* y) = 0;

  // x += scale * y; both `count` floats.
  virtual void add_scaled(float* x, const float* y, float scale, std::size_t count) = 0;

  // A cache of Options::kv_dtype.
  // Errors: kInvalidArgument for counts that are not positive, kUnsupported for a head_dim that
  // attention is not built for.
  virtual Result<std::unique_ptr<KvCache>> make_kv_cache(const KvShape& shape, int num_blocks) = 0;
  // Bytes of one block over all layers.
  virtual std::size_t kv_block_bytes(const KvShape& shape) const = 0;
  // Writes keys and values of rows [rows, kv_heads, head_dim] at their slots.
  virtual void store_kv(KvCache& cache, int layer, const float* k, const float* v,
                        std::span<const SlotId> slots) = 0;
  // Makes positions [0, num_positions) of block `to` those of block `from`, in every layer. What
  // `to` held behind them does not reach anyone's sums, as after store_kv of its first position.
  virtual void copy_kv(KvCache& cache, BlockId from, BlockId to, int num_positions) = 0;
  // A full block's keys and values of all layers as bytes, and back. bytes: [kv_block_bytes], which
  // mean something only to a cache of the same shape, class and KvDtype.
  virtual void save_kv(const KvCache& cache, BlockId block, std::span<std::byte> bytes) = 0;
  virtual void load_kv(KvCache& cache, BlockId block, std::span<const std::byte> bytes) = 0;
  // out, q: [rows, heads, head_dim]. Rows attend to their own sequence's positions up to
  // themselves, which store_kv has written.
  virtual void attention(const KvCache& cache, const AttentionArgs& args, const float* q,
                         float* out) = 0;
};

}  // namespace tutti::device
