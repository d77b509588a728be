// GGUF, versions 2 and 3, little-endian: one file with metadata and tensors, memory-mapped.
//
// Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md
//   "GGUF" | u32 version | u64 num_tensors | u64 num_pairs | pairs | tensor descriptions | padding
//   to general.alignment | tensor data. A string is a u64 length and that many bytes.
// The whole header is walked and checked once when the file is opened; nothing in it is trusted:
// counts and lengths are bounded by the bytes that are left, products are checked for overflow,
// names are unique, every tensor lies inside the file and none overlaps another.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/tensor_view.h"

namespace tutti::formats {

// Numbered as in the file.
enum class GgufType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
inline constexpr int kNumGgufTypes = 13;
// "u32", "string", "array".
std::string_view to_string(GgufType type);

// A metadata value where it lies in the file.
struct GgufValue {
  GgufType type = GgufType::kUint8;  // of the value, or of an array's elements
  bool is_array = false;
  std::uint64_t count = 1;           // elements of an array
  std::span<const std::byte> bytes;  // a string's bytes; else the packed element(s)
};

// Thread safety: constant after construction.
class GgufFile {
 public:
  // Maps and checks a file. Errors (kNotFound, kInvalidArgument, kCorrupt, kUnsupported) name the
  // file, the key or tensor, and the bound.
  static Result<GgufFile> open(const std::filesystem::path& path);
  // The same for bytes in memory, which must outlive the result; `name` stands in messages.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  // What open() mapped; empty for parse().
  const MappedFile& mapped_file() const { return file_; }
  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }

  // Keys in the file's order.
  const std::vector<std::string>& keys() const { return keys_; }
  bool has(std::string_view key) const { return find_value(key) != nullptr; }
  // nullptr when there is no such key.
  const GgufValue* find_value(std::string_view key) const;

  // Typed reading. Errors: kNotFound for a missing key; kCorrupt for a value of another type or
  // outside the stated range, naming file, key, and what it found.
  // Any integer type is read as long as the value fits.
  Result<std::uint64_t> get_uint(std::string_view key) const;
  Result<std::uint32_t> get_u32(std::string_view key) const;
  Result<std::int64_t> get_int(std::string_view key) const;
  // A float of either width, or an integer; NaN and infinity are errors.
  Result<double> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  // A view into the file; any bytes, not only UTF-8.
  Result<std::string_view> get_string(std::string_view key) const;
  // Arrays, whose elements must have the asked kind of type: integers of any width, floats of
  // either (NaN is an error). String views point into the file.
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;
  Result<std::vector<float>> get_floats(std::string_view key) const;
  Result<std::vector<std::int64_t>> get_ints(std::string_view key) const;
  Result<std::vector<bool>> get_bools(std::string_view key) const;

  // In the file's order. A tensor of a type that is not supported as a weight is listed too.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* find_tensor(std::string_view name) const;

  // The value for people: numbers, booleans and strings as they are (bytes that are not UTF-8
  // become U+FFFD, long strings are cut), arrays of more than `max_elements` as
  // {"array_of": "string", "count": 32000, "first": [...]}.
  boost::json::value value_as_json(std::string_view key, std::size_t max_elements = 8) const;

 private:
  friend class GgufParser;
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Index = std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>>;

  Result<const GgufValue*> require(std::string_view key) const;
  Status wrong_type(std::string_view key, const GgufValue& value, std::string_view wanted) const;
  Status out_of_range(std::string_view key, std::string_view found, std::string_view wanted) const;

  std::string name_;
  MappedFile file_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::vector<std::string> keys_;
  std::vector<GgufValue> values_;
  Index value_index_;
  std::vector<TensorView> tensors_;
  Index tensor_index_;
};

}  // namespace tutti::formats
