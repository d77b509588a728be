// The walk over a GGUF's header that checks everything GgufFile later relies on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "formats/display.h"
#include "formats/gguf.h"

namespace tutti::formats {
namespace {

// Far above what published files have, far below what would hurt.
constexpr std::uint64_t kMaxPairs = 1u << 16;
constexpr std::uint64_t kMaxTensors = 1u << 20;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr std::uint64_t kMaxNameBytes = 256;
constexpr std::uint64_t kMaxStringBytes = 1u << 28;
constexpr std::uint64_t kMaxArrayElements = 1u << 26;
constexpr std::uint64_t kMaxAlignment = 1u << 20;
constexpr std::uint32_t kMaxDimensions = 4;  // the format's own limit

// The least that one of these takes in the file; bounds a count before anything is reserved.
constexpr std::uint64_t kMinPairBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// Bytes of a fixed-size element, by GgufType; 0 for strings and arrays.
constexpr std::array<std::uint8_t, kNumGgufTypes> kElementBytes = {1, 1, 2, 2, 4, 4, 4,
                                                                   1, 0, 0, 8, 8, 8};

struct TensorType {
  std::uint32_t id;
  DType dtype;
};

// ggml's numbers for tensor types (enum ggml_type). The gaps are types that were removed.
constexpr TensorType kTensorTypes[] = {
    {0, DType::kF32},      {1, DType::kF16},     {2, DType::kQ4_0},     {3, DType::kQ4_1},
    {6, DType::kQ5_0},     {7, DType::kQ5_1},    {8, DType::kQ8_0},     {9, DType::kQ8_1},
    {10, DType::kQ2_K},    {11, DType::kQ3_K},   {12, DType::kQ4_K},    {13, DType::kQ5_K},
    {14, DType::kQ6_K},    {15, DType::kQ8_K},   {16, DType::kIQ2_XXS}, {17, DType::kIQ2_XS},
    {18, DType::kIQ3_XXS}, {19, DType::kIQ1_S},  {20, DType::kIQ4_NL},  {21, DType::kIQ3_S},
    {22, DType::kIQ2_S},   {23, DType::kIQ4_XS}, {24, DType::kI8},      {25, DType::kI16},
    {26, DType::kI32},     {27, DType::kI64},    {28, DType::kF64},     {29, DType::kIQ1_M},
    {30, DType::kBF16},    {34, DType::kTQ1_0},  {35, DType::kTQ2_0},   {39, DType::kMXFP4},
    {40, DType::kNVFP4},   {41, DType::kQ1_0},
};

std::optional<DType> tensor_type(std::uint32_t id) {
  for (const TensorType& type : kTensorTypes) {
    if (type.id == id) return type.dtype;
  }
  return std::nullopt;
}

}  // namespace

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, GgufFile& file) : bytes_(bytes), file_(file) {}

  Status run() {
    const Status status = [this]() -> Status {
      TUTTI_RETURN_IF_ERROR(read_magic_and_version());
      TUTTI_ASSIGN_OR_RETURN(const auto num_tensors, read<std::uint64_t>("number of tensors"));
      TUTTI_ASSIGN_OR_RETURN(const auto num_pairs, read<std::uint64_t>("number of metadata keys"));
      TUTTI_RETURN_IF_ERROR(check_count("tensors", num_tensors, kMaxTensors, kMinTensorBytes));
      TUTTI_RETURN_IF_ERROR(check_count("metadata keys", num_pairs, kMaxPairs, kMinPairBytes));
      for (std::uint64_t i = 0; i < num_pairs; ++i) TUTTI_RETURN_IF_ERROR(read_pair(i));
      TUTTI_RETURN_IF_ERROR(read_alignment());
      for (std::uint64_t i = 0; i < num_tensors; ++i) TUTTI_RETURN_IF_ERROR(read_tensor(i));
      return place_tensors();
    }();
    return status.with_context(file_.name_);
  }

 private:
  std::uint64_t remaining() const { return bytes_.size() - at_; }

  template <typename T>
  Result<T> read(std::string_view what) {
    if (remaining() < sizeof(T)) return ends_within(what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }

  Status ends_within(std::string_view what) const {
    return corrupt(fmt::format("the file ends within the {}, at byte {}", what, bytes_.size()));
  }

  Status check_count(std::string_view what, std::uint64_t count, std::uint64_t limit,
                     std::uint64_t min_bytes) const {
    if (count > limit) {
      return corrupt(fmt::format("declares {} {}, more than the limit of {}", count, what, limit));
    }
    if (count > remaining() / min_bytes) {
      return corrupt(
          fmt::format("declares {} {}, but only {} bytes follow", count, what, remaining()));
    }
    return Status();
  }

  Result<std::string_view> read_string(std::string_view what, std::uint64_t max_bytes) {
    TUTTI_ASSIGN_OR_RETURN(const auto length, read<std::uint64_t>(what));
    if (length > max_bytes) {
      return corrupt(fmt::format("the {} is {} bytes long, more than the limit of {}", what, length,
                                 max_bytes));
    }
    if (length > remaining()) {
      return corrupt(fmt::format("the {} is {} bytes long, but only {} bytes follow", what, length,
                                 remaining()));
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }

  Status read_magic_and_version() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      return corrupt("not a GGUF file: it does not begin with \"GGUF\"");
    }
    at_ = 4;
    TUTTI_ASSIGN_OR_RETURN(file_.version_, read<std::uint32_t>("version"));
    if (file_.version_ != 0 && (file_.version_ & 0xffffu) == 0) {
      return unsupported("a big-endian GGUF file; only little-endian files are supported");
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      return unsupported(
          fmt::format("GGUF version {}; versions 2 and 3 are supported", file_.version_));
    }
    return Status();
  }

  Status read_pair(std::uint64_t index) {
    TUTTI_ASSIGN_OR_RETURN(const std::string_view key,
                           read_string(fmt::format("metadata key {}", index), kMaxKeyBytes));
    if (key.empty()) return corrupt(fmt::format("metadata key {} is empty", index));
    if (!file_.value_index_.emplace(key, file_.values_.size()).second) {
      return corrupt(fmt::format("metadata key \"{}\" occurs twice", display(key)));
    }
    GgufValue value;
    const Status status = read_value(value);
    if (!status.ok()) return status.with_context(fmt::format("key \"{}\"", display(key)));
    file_.keys_.emplace_back(key);
    file_.values_.push_back(value);
    return Status();
  }

  Result<GgufType> read_type(std::string_view what) {
    TUTTI_ASSIGN_OR_RETURN(const auto type, read<std::uint32_t>(what));
    if (type >= kNumGgufTypes) {
      return corrupt(fmt::format("{} is {}, must be in 0..{}", what, type, kNumGgufTypes - 1));
    }
    return static_cast<GgufType>(type);
  }

  Status read_value(GgufValue& value) {
    TUTTI_ASSIGN_OR_RETURN(value.type, read_type("value type"));
    if (value.type == GgufType::kString) {
      TUTTI_ASSIGN_OR_RETURN(const std::string_view text, read_string("value", kMaxStringBytes));
      value.bytes = std::as_bytes(std::span(text));
      return Status();
    }
    if (value.type == GgufType::kArray) return read_array(value);
    return read_elements(value);
  }

  Status read_array(GgufValue& value) {
    value.is_array = true;
    TUTTI_ASSIGN_OR_RETURN(value.type, read_type("array's element type"));
    if (value.type == GgufType::kArray) return unsupported("arrays of arrays are not supported");
    TUTTI_ASSIGN_OR_RETURN(value.count, read<std::uint64_t>("array's length"));
    const bool strings = value.type == GgufType::kString;
    const std::uint64_t min_bytes = strings ? 8 : kElementBytes[static_cast<int>(value.type)];
    TUTTI_RETURN_IF_ERROR(check_count("array elements", value.count, kMaxArrayElements, min_bytes));
    if (!strings) return read_elements(value);
    const std::size_t begin = at_;
    for (std::uint64_t i = 0; i < value.count; ++i) {
      const auto text = read_string("array's string", kMaxStringBytes);
      if (!text.ok()) return text.status().with_context(fmt::format("element {}", i));
    }
    value.bytes = bytes_.subspan(begin, at_ - begin);
    return Status();
  }

  // `count` elements of a fixed size; the count is bounded already, so the product cannot wrap.
  Status read_elements(GgufValue& value) {
    const std::uint64_t size = value.count * kElementBytes[static_cast<int>(value.type)];
    if (size > remaining()) return ends_within("value");
    value.bytes = bytes_.subspan(at_, size);
    at_ += size;
    if (value.type != GgufType::kBool) return Status();
    const auto is_bool = [](std::byte b) { return std::to_integer<int>(b) <= 1; };
    const auto bad = std::find_if_not(value.bytes.begin(), value.bytes.end(), is_bool);
    if (bad == value.bytes.end()) return Status();
    return corrupt(fmt::format("a bool is {}, must be 0 or 1", std::to_integer<int>(*bad)));
  }

  Status read_alignment() {
    constexpr std::string_view kKey = "general.alignment";
    if (!file_.has(kKey)) return Status();
    const GgufValue& value = *file_.find_value(kKey);
    if (value.is_array || value.type != GgufType::kUint32) {
      return corrupt(fmt::format("key \"{}\" must be a u32", kKey));
    }
    std::uint32_t alignment = 0;
    std::memcpy(&alignment, value.bytes.data(), sizeof(alignment));
    if (!std::has_single_bit(alignment) || alignment < 8 || alignment > kMaxAlignment) {
      return corrupt(fmt::format("key \"{}\" is {}, must be a power of two in 8..{}", kKey,
                                 alignment, kMaxAlignment));
    }
    file_.alignment_ = alignment;
    return Status();
  }

  Status read_tensor(std::uint64_t index) {
    const std::string ordinal = fmt::format("tensor {}", index);
    TUTTI_ASSIGN_OR_RETURN(const std::string_view name,
                           read_string("name of " + ordinal, kMaxNameBytes));
    if (name.empty()) return corrupt(ordinal + " has an empty name");
    const std::string label = "tensor " + display(name);
    if (!file_.tensor_index_.emplace(name, index).second) return corrupt(label + " occurs twice");
    TensorView tensor;
    tensor.name = name;
    TUTTI_RETURN_IF_ERROR(read_shape(tensor).with_context(label));
    TUTTI_RETURN_IF_ERROR(read_type_and_offset(tensor).with_context(label));
    file_.tensors_.push_back(std::move(tensor));
    return Status();
  }

  Status read_shape(TensorView& tensor) {
    TUTTI_ASSIGN_OR_RETURN(const auto num_dimensions, read<std::uint32_t>("number of dimensions"));
    if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
      return corrupt(
          fmt::format("has {} dimensions, must be in 1..{}", num_dimensions, kMaxDimensions));
    }
    std::int64_t product = 1;
    for (std::uint32_t i = 0; i < num_dimensions; ++i) {
      TUTTI_ASSIGN_OR_RETURN(const auto extent, read<std::uint64_t>("dimensions"));
      if (extent < 1 || extent > std::numeric_limits<std::int64_t>::max()) {
        return corrupt(fmt::format("dimension {} is {}, must be in 1..2^63-1", i, extent));
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(extent));
      if (__builtin_mul_overflow(product, tensor.shape.front(), &product)) {
        return corrupt(fmt::format("the product of its dimensions {} is over 2^63-1",
                                   shape_to_string(tensor.shape)));
      }
    }
    return Status();
  }

  // Leaves bytes of the right size at their place relative to the data section for place_tensors.
  Status read_type_and_offset(TensorView& tensor) {
    TUTTI_ASSIGN_OR_RETURN(const auto type, read<std::uint32_t>("type"));
    TUTTI_ASSIGN_OR_RETURN(const auto offset, read<std::uint64_t>("offset"));
    const std::optional<DType> dtype = tensor_type(type);
    if (!dtype) return unsupported(fmt::format("has type number {}, which is not known", type));
    tensor.dtype = *dtype;
    const auto row_bytes = bytes_for(*dtype, tensor.row_length());
    if (tensor.row_length() % dtype_info(*dtype).block_size != 0) {
      return corrupt(fmt::format("has rows of {} values, must be a multiple of {} for type {}",
                                 tensor.row_length(), dtype_info(*dtype).block_size,
                                 to_string(*dtype)));
    }
    std::int64_t size = 0;
    if (!row_bytes || __builtin_mul_overflow(*row_bytes, tensor.num_rows(), &size)) {
      return corrupt(fmt::format("its size, {} of type {}, is over 2^63-1 bytes",
                                 shape_to_string(tensor.shape), to_string(*dtype)));
    }
    extents_.push_back({offset, static_cast<std::uint64_t>(size)});
    return Status();
  }

  Status place_tensors() {
    if (file_.tensors_.empty()) return Status();
    const std::uint64_t mask = file_.alignment_ - 1;
    const std::uint64_t data_begin = (at_ + mask) & ~mask;
    if (data_begin > bytes_.size()) return ends_within("padding before the tensors");
    const std::span<const std::byte> data = bytes_.subspan(data_begin);
    for (std::size_t i = 0; i < extents_.size(); ++i) {
      const auto [offset, size] = extents_[i];
      TensorView& tensor = file_.tensors_[i];
      if ((offset & mask) != 0) {
        return corrupt(fmt::format("tensor {}: offset {} is not a multiple of the alignment {}",
                                   display(tensor.name), offset, file_.alignment_));
      }
      if (offset > data.size() || size > data.size() - offset) {
        return corrupt(
            fmt::format("tensor {}: {} bytes at offset {} of the data section, which has {} bytes",
                        display(tensor.name), size, offset, data.size()));
      }
      tensor.bytes = data.subspan(offset, size);
    }
    return check_overlaps();
  }

  Status check_overlaps() const {
    std::vector<std::size_t> order(extents_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
      return extents_[a].offset < extents_[b].offset;
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const Extent& before = extents_[order[i - 1]];
      if (before.offset + before.size <= extents_[order[i]].offset) continue;
      return corrupt(fmt::format("tensors {} and {} overlap",
                                 display(file_.tensors_[order[i - 1]].name),
                                 display(file_.tensors_[order[i]].name)));
    }
    return Status();
  }

  // A tensor's place in the data section, in bytes.
  struct Extent {
    std::uint64_t offset;
    std::uint64_t size;
  };

  std::span<const std::byte> bytes_;
  GgufFile& file_;
  std::size_t at_ = 0;  // <= bytes_.size()
  std::vector<Extent> extents_;
};

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.name_ = std::move(name);
  TUTTI_RETURN_IF_ERROR(GgufParser(bytes, file).run());
  return file;
}

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  TUTTI_ASSIGN_OR_RETURN(GgufFile file, parse(mapped.bytes(), path.string()));
  file.file_ = std::move(mapped);
  return file;
}

}  // namespace tutti::formats
