#include "formats/json_fields.h"

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

namespace tutti::formats {

namespace json = boost::json;

std::optional<std::int64_t> int_in_range(const json::value& value, std::int64_t min,
                                         std::int64_t max) {
  std::int64_t number = 0;
  if (const std::int64_t* as_signed = value.if_int64()) {
    number = *as_signed;
  } else {
    return std::nullopt;
  }
  if (number < min || number > max) return std::nullopt;
  return number;
}

const json::value* JsonFields::find(std::string_view key) const {
  const json::value* value = object_.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status JsonFields::wrong(std::string_view key, std::string_view wanted) const {
  return corrupt(
      fmt::format("{}{}{}: {} is expected", path_, path_.empty() ? "" : ".", key, wanted));
}

Result<std::optional<bool>> JsonFields::get_bool(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (const bool* found = value->if_bool()) return std::optional<bool>(*found);
  return wrong(key, "true or false");
}

Result<std::optional<std::string>> JsonFields::get_string(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (const json::string* found = value->if_string()) {
    return std::optional<std::string>(std::string(std::string_view(*found)));
  }
  return wrong(key, "a string");
}

Result<std::optional<std::int64_t>> JsonFields::get_int(std::string_view key, std::int64_t min,
                                                        std::int64_t max) const {
  const json::value* value = find(key);
  if (value == nullptr) return std::optional<std::int64_t>();
  const std::optional<std::int64_t> number = int_in_range(*value, min, max);
  if (!number) return wrong(key, fmt::format("an integer in [{}, {}]", min, max));
  return number;
}

Result<bool> JsonFields::bool_or(std::string_view key, bool fallback) const {
  TUTTI_ASSIGN_OR_RETURN(const std::optional<bool> value, get_bool(key));
  return value.value_or(fallback);
}

Result<std::string> JsonFields::string_or(std::string_view key, std::string_view fallback) const {
  TUTTI_ASSIGN_OR_RETURN(std::optional<std::string> value, get_string(key));
  return value ? std::move(*value) : std::string(fallback);
}

Result<std::string> JsonFields::require_string(std::string_view key) const {
  TUTTI_ASSIGN_OR_RETURN(std::optional<std::string> value, get_string(key));
  if (!value) return wrong(key, "a string");
  return std::move(*value);
}

Result<const json::array*> JsonFields::require_array(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr || !value->is_array()) return wrong(key, "an array");
  return &value->get_array();
}

Result<const json::object*> JsonFields::require_object(std::string_view key) const {
  const json::value* value = find(key);
  if (value == nullptr || !value->is_object()) return wrong(key, "an object");
  return &value->get_object();
}

}  // namespace tutti::formats
