#include "model/config_reader.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <limits>
#include <optional>

namespace tutti::model {
namespace {

namespace json = boost::json;

// nullopt when the value is no whole number that an int64 holds.
std::optional<std::int64_t> whole_number(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) {
    const std::uint64_t number = value.get_uint64();
    constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(std::min(number, kMax));
  }
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::trunc(number) == number && std::abs(number) < 0x1p62) {
      return static_cast<std::int64_t>(number);
    }
  }
  return std::nullopt;
}

std::optional<double> any_number(const json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

Status wrong_type(const std::string& where, std::string_view wanted, const json::value& value) {
  return corrupt(fmt::format("{} must be {}, is {}", where, wanted, json::to_string(value.kind())));
}

Result<int> read_integer(const std::string& where, const json::value& value, IntegerRange range) {
  const std::optional<std::int64_t> number = whole_number(value);
  if (!number) return wrong_type(where, "an integer", value);
  return check_integer(where, *number, range);
}

Result<double> read_number(const std::string& where, const json::value& value, NumberRange range) {
  const std::optional<double> number = any_number(value);
  if (!number) return wrong_type(where, "a number", value);
  return check_number(where, *number, range);
}

}  // namespace

Result<int> check_integer(const std::string& where, std::int64_t value, IntegerRange range) {
  if (value < range.min || value > range.max) {
    return corrupt(
        fmt::format("{} is {}, must be in [{}, {}]", where, value, range.min, range.max));
  }
  return static_cast<int>(value);
}

Result<double> check_number(const std::string& where, double value, NumberRange range) {
  if (!(value >= range.min && value <= range.max)) {
    return corrupt(
        fmt::format("{} is {}, must be in [{}, {}]", where, value, range.min, range.max));
  }
  return value;
}

const json::value* ConfigReader::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

bool ConfigReader::is_null(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value != nullptr && value->is_null();
}

bool ConfigReader::has_text(std::string_view key) const {
  const json::value* value = find(key);
  return value != nullptr && value->is_string();
}

bool ConfigReader::has_object(std::string_view key) const {
  const json::value* value = find(key);
  return value != nullptr && value->is_object();
}

Status ConfigReader::missing(std::string_view key) const {
  return corrupt(where(key) + " is missing");
}

Result<int> ConfigReader::integer(std::string_view key, IntegerRange range) const {
  const json::value* value = find(key);
  if (value == nullptr) return missing(key);
  return read_integer(where(key), *value, range);
}

Result<int> ConfigReader::integer_or(std::string_view key, int otherwise,
                                     IntegerRange range) const {
  return has(key) ? integer(key, range) : Result<int>(otherwise);
}

Result<double> ConfigReader::number(std::string_view key, NumberRange range) const {
  const json::value* value = find(key);
  if (value == nullptr) return missing(key);
  return read_number(where(key), *value, range);
}

Result<double> ConfigReader::number_or(std::string_view key, double otherwise,
                                       NumberRange range) const {
  return has(key) ? number(key, range) : Result<double>(otherwise);
}

Result<double> ConfigReader::finite_number_or(std::string_view key, double otherwise,
                                              NumberRange range) const {
  if (is_null(key)) return corrupt(where(key) + " is not a finite number");
  return number_or(key, otherwise, range);
}

Result<bool> ConfigReader::boolean_or(std::string_view key, bool otherwise) const {
  const json::value* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_bool()) return wrong_type(where(key), "true or false", *value);
  return value->get_bool();
}

Result<std::string> ConfigReader::text(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return missing(key);
  if (!value->is_string()) return wrong_type(where(key), "a string", *value);
  return std::string(value->get_string());
}

Result<std::vector<int>> ConfigReader::integers(std::string_view key, IntegerRange range) const {
  std::vector<int> integers;
  const json::value* value = find(key);
  if (value == nullptr) return integers;
  if (!value->is_array()) {
    TUTTI_ASSIGN_OR_RETURN(const int single, read_integer(where(key), *value, range));
    integers.push_back(single);
    return integers;
  }
  for (const json::value& element : value->get_array()) {
    TUTTI_ASSIGN_OR_RETURN(const int integer, read_integer(where(key), element, range));
    integers.push_back(integer);
  }
  return integers;
}

Result<const json::array*> ConfigReader::list(std::string_view key, std::size_t count) const {
  const json::value* value = find(key);
  if (value == nullptr) return missing(key);
  if (!value->is_array()) return wrong_type(where(key), "a list", *value);
  const json::array& array = value->get_array();
  if (array.size() != count) {
    return corrupt(
        fmt::format("{} has {} elements, must have {}", where(key), array.size(), count));
  }
  return &array;
}

Result<std::vector<float>> ConfigReader::numbers(std::string_view key, std::size_t count,
                                                 NumberRange range) const {
  TUTTI_ASSIGN_OR_RETURN(const json::array* array, list(key, count));
  std::vector<float> numbers;
  for (const json::value& element : *array) {
    TUTTI_ASSIGN_OR_RETURN(const double number, read_number(where(key), element, range));
    numbers.push_back(static_cast<float>(number));
  }
  return numbers;
}

Result<std::vector<std::string>> ConfigReader::texts(std::string_view key,
                                                     std::size_t count) const {
  TUTTI_ASSIGN_OR_RETURN(const json::array* array, list(key, count));
  std::vector<std::string> texts;
  for (const json::value& element : *array) {
    if (!element.is_string()) return wrong_type(where(key), "a list of strings", element);
    texts.emplace_back(element.get_string());
  }
  return texts;
}

Result<ConfigReader> ConfigReader::object(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return missing(key);
  if (!value->is_object()) return wrong_type(where(key), "an object", *value);
  return ConfigReader(value->get_object(), where(key) + ".");
}

}  // namespace tutti::model
