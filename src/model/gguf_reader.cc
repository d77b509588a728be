#include "model/gguf_reader.h"

#include <fmt/format.h>

namespace tutti::model {

Result<int> GgufReader::integer(std::string_view key, IntegerRange range) const {
  const std::string name = key_of(key);
  const formats::GgufValue* value = file_->find_value(name);
  if (value == nullptr) return corrupt(where(key) + " is missing");
  if (!value->is_array) {
    TUTTI_ASSIGN_OR_RETURN(const std::int64_t number, file_->get_int(name));
    return check_integer(where(key), number, range);
  }
  TUTTI_ASSIGN_OR_RETURN(const std::vector<std::int64_t> numbers, file_->get_ints(name));
  if (numbers.empty()) return corrupt(where(key) + " is an empty array");
  for (const std::int64_t number : numbers) {
    if (number == numbers.front()) continue;
    return unsupported(fmt::format("{} differs between layers ({} and {}), which is not supported",
                                   where(key), numbers.front(), number));
  }
  return check_integer(where(key), numbers.front(), range);
}

Result<int> GgufReader::integer_or(std::string_view key, int otherwise, IntegerRange range) const {
  return has(key) ? integer(key, range) : Result<int>(otherwise);
}

Result<double> GgufReader::number(std::string_view key, NumberRange range) const {
  if (!has(key)) return corrupt(where(key) + " is missing");
  TUTTI_ASSIGN_OR_RETURN(const double number, file_->get_float(key_of(key)));
  return check_number(where(key), number, range);
}

Result<double> GgufReader::number_or(std::string_view key, double otherwise,
                                     NumberRange range) const {
  return has(key) ? number(key, range) : Result<double>(otherwise);
}

Result<std::string> GgufReader::text_or(std::string_view key, std::string_view otherwise) const {
  if (!has(key)) return std::string(otherwise);
  TUTTI_ASSIGN_OR_RETURN(const std::string_view text, file_->get_string(key_of(key)));
  return std::string(text);
}

}  // namespace tutti::model
