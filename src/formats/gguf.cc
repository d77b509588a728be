#include "formats/gguf.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/json.h"
#include "formats/display.h"

namespace tutti::formats {
namespace {

constexpr std::array<std::string_view, kNumGgufTypes> kTypeNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

template <typename T>
T element(const GgufValue& value, std::uint64_t index) {
  T result;
  std::memcpy(&result, value.bytes.data() + index * sizeof(T), sizeof(T));
  return result;
}

// An integer of any of the file's types: its magnitude and sign, since neither u64 nor i64 holds
// all of them.
struct Integer {
  bool negative;
  std::uint64_t bits;  // two's complement
};

template <typename T>
Integer integer_element(const GgufValue& value, std::uint64_t index) {
  const T result = element<T>(value, index);
  return {result < T{0}, static_cast<std::uint64_t>(result)};
}

std::optional<Integer> integer_at(const GgufValue& value, std::uint64_t index) {
  switch (value.type) {
    case GgufType::kUint8:
      return integer_element<std::uint8_t>(value, index);
    case GgufType::kInt8:
      return integer_element<std::int8_t>(value, index);
    case GgufType::kUint16:
      return integer_element<std::uint16_t>(value, index);
    case GgufType::kInt16:
      return integer_element<std::int16_t>(value, index);
    case GgufType::kUint32:
      return integer_element<std::uint32_t>(value, index);
    case GgufType::kInt32:
      return integer_element<std::int32_t>(value, index);
    case GgufType::kUint64:
      return integer_element<std::uint64_t>(value, index);
    case GgufType::kInt64:
      return integer_element<std::int64_t>(value, index);
    default:
      return std::nullopt;
  }
}

std::optional<double> float_at(const GgufValue& value, std::uint64_t index) {
  if (value.type == GgufType::kFloat32) return element<float>(value, index);
  if (value.type == GgufType::kFloat64) return element<double>(value, index);
  return std::nullopt;
}

std::string integer_to_string(Integer value) {
  return value.negative ? std::to_string(static_cast<std::int64_t>(value.bits))
                        : std::to_string(value.bits);
}

bool fits_int64(Integer value) {
  return value.negative || value.bits <= std::numeric_limits<std::int64_t>::max();
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Calls `use` with the first `limit` strings of an array, whose lengths were checked on opening.
template <typename Use>
void for_each_string(const GgufValue& value, std::uint64_t limit, Use use) {
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < std::min(limit, value.count); ++i) {
    std::uint64_t length = 0;
    std::memcpy(&length, value.bytes.data() + at, sizeof(length));
    use(as_text(value.bytes.subspan(at + sizeof(length), length)));
    at += sizeof(length) + length;
  }
}

json::value number_as_json(double number) {
  if (!std::isfinite(number)) return json::string(fmt::format("{}", number));
  return number;
}

json::value element_as_json(const GgufValue& value, std::uint64_t index) {
  if (value.type == GgufType::kBool) return element<std::uint8_t>(value, index) != 0;
  if (const auto number = float_at(value, index)) return number_as_json(*number);
  const Integer integer = integer_at(value, index).value();
  if (integer.negative) return static_cast<std::int64_t>(integer.bits);
  return integer.bits;
}

constexpr std::size_t kMaxShownStringBytes = 16384;

}  // namespace

std::string_view to_string(GgufType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kTypeNames.size() ? kTypeNames[index] : "unknown";
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found = value_index_.find(key);
  return found == value_index_.end() ? nullptr : &values_[found->second];
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

Result<const GgufValue*> GgufFile::require(std::string_view key) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return not_found(fmt::format("{}: key \"{}\" is missing", name_, key));
  return value;
}

Status GgufFile::wrong_type(std::string_view key, const GgufValue& value,
                            std::string_view wanted) const {
  return corrupt(fmt::format("{}: key \"{}\" is {}{}, must be {}", name_, key,
                             value.is_array ? "an array of " : "of type ",
                             formats::to_string(value.type), wanted));
}

Status GgufFile::out_of_range(std::string_view key, std::string_view found,
                              std::string_view wanted) const {
  return corrupt(fmt::format("{}: key \"{}\" is {}, must be {}", name_, key, found, wanted));
}

Result<std::uint64_t> GgufFile::get_uint(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  const auto integer = value->is_array ? std::nullopt : integer_at(*value, 0);
  if (!integer) return wrong_type(key, *value, "an integer");
  if (integer->negative) return out_of_range(key, integer_to_string(*integer), "0 or more");
  return integer->bits;
}

Result<std::uint32_t> GgufFile::get_u32(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const std::uint64_t value, get_uint(key));
  if (value > std::numeric_limits<std::uint32_t>::max()) {
    return out_of_range(key, std::to_string(value), "in 0..4294967295");
  }
  return static_cast<std::uint32_t>(value);
}

Result<std::int64_t> GgufFile::get_int(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  const auto integer = value->is_array ? std::nullopt : integer_at(*value, 0);
  if (!integer) return wrong_type(key, *value, "an integer");
  if (!fits_int64(*integer)) {
    return out_of_range(key, integer_to_string(*integer), "at most 2^63-1");
  }
  return static_cast<std::int64_t>(integer->bits);
}

Result<double> GgufFile::get_float(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  if (value->is_array) return wrong_type(key, *value, "a number");
  if (const auto number = float_at(*value, 0)) {
    if (!std::isfinite(*number)) return out_of_range(key, fmt::format("{}", *number), "finite");
    return *number;
  }
  const auto integer = integer_at(*value, 0);
  if (!integer) return wrong_type(key, *value, "a number");
  return integer->negative ? static_cast<double>(static_cast<std::int64_t>(integer->bits))
                           : static_cast<double>(integer->bits);
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  if (value->is_array || value->type != GgufType::kBool) return wrong_type(key, *value, "a bool");
  return element<std::uint8_t>(*value, 0) != 0;
}

Result<std::string_view> GgufFile::get_string(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  if (value->is_array || value->type != GgufType::kString) {
    return wrong_type(key, *value, "a string");
  }
  return as_text(value->bytes);
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  if (!value->is_array || value->type != GgufType::kString) {
    return wrong_type(key, *value, "an array of strings");
  }
  std::vector<std::string_view> strings;
  strings.reserve(value->count);
  for_each_string(*value, value->count, [&](std::string_view text) { strings.push_back(text); });
  return strings;
}

Result<std::vector<float>> GgufFile::get_floats(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  const bool is_float = value->type == GgufType::kFloat32 || value->type == GgufType::kFloat64;
  if (!value->is_array || !is_float) return wrong_type(key, *value, "an array of floats");
  std::vector<float> floats;
  floats.reserve(value->count);
  for (std::uint64_t i = 0; i < value->count; ++i) {
    floats.push_back(static_cast<float>(*float_at(*value, i)));
    if (std::isnan(floats.back())) {
      return corrupt(fmt::format("{}: key \"{}\": element {} is not a number", name_, key, i));
    }
  }
  return floats;
}

Result<std::vector<std::int64_t>> GgufFile::get_ints(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  const bool is_integer = value->type != GgufType::kBool && value->type != GgufType::kString &&
                          value->type != GgufType::kFloat32 && value->type != GgufType::kFloat64;
  if (!value->is_array || !is_integer) return wrong_type(key, *value, "an array of integers");
  std::vector<std::int64_t> integers;
  integers.reserve(value->count);
  for (std::uint64_t i = 0; i < value->count; ++i) {
    const Integer integer = integer_at(*value, i).value();
    if (!fits_int64(integer)) {
      return corrupt(fmt::format("{}: key \"{}\": element {} is {}, must be at most 2^63-1", name_,
                                 key, i, integer.bits));
    }
    integers.push_back(static_cast<std::int64_t>(integer.bits));
  }
  return integers;
}

Result<std::vector<bool>> GgufFile::get_bools(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(const GgufValue* value, require(key));
  if (!value->is_array || value->type != GgufType::kBool) {
    return wrong_type(key, *value, "an array of bools");
  }
  std::vector<bool> bools;
  bools.reserve(value->count);
  for (std::uint64_t i = 0; i < value->count; ++i) {
    bools.push_back(element<std::uint8_t>(*value, i) != 0);
  }
  return bools;
}

json::value GgufFile::value_as_json(std::string_view key, std::size_t max_elements) const {
  const GgufValue* value = find_value(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array) {
    if (value->type != GgufType::kString) return element_as_json(*value, 0);
    return json::string(valid_utf8(as_text(value->bytes), kMaxShownStringBytes));
  }
  const std::uint64_t shown = std::min<std::uint64_t>(value->count, max_elements);
  json::array elements;
  if (value->type == GgufType::kString) {
    for_each_string(*value, shown, [&](std::string_view text) {
      elements.emplace_back(json::string(valid_utf8(text, kMaxShownStringBytes)));
    });
  } else {
    for (std::uint64_t i = 0; i < shown; ++i) elements.push_back(element_as_json(*value, i));
  }
  if (shown == value->count) return elements;
  return json::object{{"array_of", json::string(formats::to_string(value->type))},
                      {"count", value->count},
                      {"first", std::move(elements)}};
}

}  // namespace tutti::formats
