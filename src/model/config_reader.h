// Typed, bounded reading of the settings in a config.json.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tutti::model {

// Bounds of a number, both included.
struct IntegerRange {
  std::int64_t min = 0;
  std::int64_t max = 0;
};
struct NumberRange {
  double min = 0;
  double max = 0;
};

// `where` names file and key. Errors: kCorrupt "<where> is 0, must be in [1, 4096]".
Result<int> check_integer(const std::string& where, std::int64_t value, IntegerRange range);
// NaN and infinity are outside every range.
Result<double> check_number(const std::string& where, double value, NumberRange range);

// An object of a config.json. A key that is absent or null has no value.
// Errors: kCorrupt for a missing value, a wrong type, or a value outside its range; they name the
// key with its path ("config.json: rope_scaling.factor").
class ConfigReader {
 public:
  // `object` must outlive the reader. `path` stands before the keys in messages.
  ConfigReader(const boost::json::object& object, std::string path)
      : object_(&object), path_(std::move(path)) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }
  // The key is there and holds null.
  bool is_null(std::string_view key) const;
  bool has_text(std::string_view key) const;
  bool has_object(std::string_view key) const;
  std::string where(std::string_view key) const { return path_ + std::string(key); }

  // An integer, or a floating point number without a fraction.
  Result<int> integer(std::string_view key, IntegerRange range) const;
  Result<int> integer_or(std::string_view key, int otherwise, IntegerRange range) const;
  Result<double> number(std::string_view key, NumberRange range) const;
  Result<double> number_or(std::string_view key, double otherwise, NumberRange range) const;
  // The same, but null, as which NaN and infinity are read (formats/config_json.cc), is refused.
  Result<double> finite_number_or(std::string_view key, double otherwise, NumberRange range) const;
  Result<bool> boolean_or(std::string_view key, bool otherwise) const;
  Result<std::string> text(std::string_view key) const;
  // One integer, or a list of them; empty when there is no value.
  Result<std::vector<int>> integers(std::string_view key, IntegerRange range) const;
  // Lists of exactly `count` elements.
  Result<std::vector<float>> numbers(std::string_view key, std::size_t count,
                                     NumberRange range) const;
  Result<std::vector<std::string>> texts(std::string_view key, std::size_t count) const;
  // The object under `key`.
  Result<ConfigReader> object(std::string_view key) const;

 private:
  const boost::json::value* find(std::string_view key) const;
  Result<const boost::json::array*> list(std::string_view key, std::size_t count) const;
  Status missing(std::string_view key) const;

  const boost::json::object* object_;
  std::string path_;
};

}  // namespace tutti::model
