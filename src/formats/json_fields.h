// Typed reading of a JSON object's fields, with errors that name the path to the field.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti::formats {

// A field that is null counts as absent. Errors: kCorrupt, "model.unk_id: …".
// Thread safety: as the object, which must outlive it.
class JsonFields {
 public:
  JsonFields(const boost::json::object& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  const boost::json::object& object() const { return object_; }
  const std::string& path() const { return path_; }

  // nullptr when absent.
  const boost::json::value* find(std::string_view key) const;

  Result<std::optional<bool>> get_bool(std::string_view key) const;
  Result<std::optional<std::string>> get_string(std::string_view key) const;
  // An integer in [min, max].
  Result<std::optional<std::int64_t>> get_int(std::string_view key, std::int64_t min,
                                              std::int64_t max) const;
  Result<bool> bool_or(std::string_view key, bool fallback) const;
  Result<std::string> string_or(std::string_view key, std::string_view fallback) const;

  // Errors also when absent.
  Result<std::string> require_string(std::string_view key) const;
  Result<const boost::json::array*> require_array(std::string_view key) const;
  Result<const boost::json::object*> require_object(std::string_view key) const;

  Status wrong(std::string_view key, std::string_view wanted) const;

 private:
  const boost::json::object& object_;
  std::string path_;
};

// An integer value in [min, max], or nullopt.
std::optional<std::int64_t> int_in_range(const boost::json::value& value, std::int64_t min,
                                         std::int64_t max);

}  // namespace tutti::formats
