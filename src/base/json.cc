#include "base/json.h"

#include <fmt/format.h>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tutti {
namespace {

// Builds the value on a value_stack, as boost's own parser does, and remembers the keys of each
// open object so that a duplicate is an error and not the last one's win.
class StrictHandler {
 public:
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  explicit StrictHandler(bool allow_duplicates) : allow_duplicates_(allow_duplicates) {
    stack_.reset();
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t n, json::error_code&) {
    keys_.pop_back();
    stack_.push_object(n);
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t n, json::error_code&) {
    stack_.push_array(n);
    return true;
  }
  bool on_key_part(std::string_view s, std::size_t, json::error_code&) {
    key_.append(s);
    stack_.push_chars(s);
    return true;
  }
  bool on_key(std::string_view s, std::size_t, json::error_code& ec) {
    key_.append(s);
    if (!allow_duplicates_ && !keys_.back().insert(key_).second) {
      duplicate_key_ = key_;
      ec = json::error::exception;
      return false;
    }
    key_.clear();
    stack_.push_key(s);
    return true;
  }
  bool on_string_part(std::string_view s, std::size_t, json::error_code&) {
    stack_.push_chars(s);
    return true;
  }
  bool on_string(std::string_view s, std::size_t, json::error_code&) {
    stack_.push_string(s);
    return true;
  }
  bool on_number_part(std::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t v, std::string_view, json::error_code&) {
    stack_.push_int64(v);
    return true;
  }
  bool on_uint64(std::uint64_t v, std::string_view, json::error_code&) {
    stack_.push_uint64(v);
    return true;
  }
  bool on_double(double v, std::string_view, json::error_code&) {
    stack_.push_double(v);
    return true;
  }
  bool on_bool(bool v, json::error_code&) {
    stack_.push_bool(v);
    return true;
  }
  bool on_null(json::error_code&) {
    stack_.push_null();
    return true;
  }
  bool on_comment_part(std::string_view, json::error_code&) { return true; }
  bool on_comment(std::string_view, json::error_code&) { return true; }

  json::value release() { return stack_.release(); }
  const std::string& duplicate_key() const { return duplicate_key_; }

 private:
  json::value_stack stack_;
  std::vector<std::set<std::string>> keys_;
  std::string key_;
  std::string duplicate_key_;
  bool allow_duplicates_;
};

void append(const json::value& value, std::string& out);

void append_double(double number, std::string& out) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  const std::size_t begin = out.size();
  fmt::format_to(std::back_inserter(out), "{}", number);
  // A double stays one for whoever reads it: 1 would come back as an integer.
  if (out.find_first_of(".e", begin) == std::string::npos) out += ".0";
}

void append_array(const json::array& array, std::string& out) {
  out += '[';
  for (std::size_t i = 0; i < array.size(); ++i) {
    if (i > 0) out += ',';
    append(array[i], out);
  }
  out += ']';
}

void append_object(const json::object& object, std::string& out) {
  out += '{';
  bool is_first = true;
  for (const auto& member : object) {
    if (!std::exchange(is_first, false)) out += ',';
    out += json::serialize(member.key());
    out += ':';
    append(member.value(), out);
  }
  out += '}';
}

void append(const json::value& value, std::string& out) {
  if (const auto* number = value.if_double()) {
    append_double(*number, out);
  } else if (const auto* array = value.if_array()) {
    append_array(*array, out);
  } else if (const auto* object = value.if_object()) {
    append_object(*object, out);
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

Result<json::value> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Status(ErrorKind::kTooLarge,
                  fmt::format("JSON of {} bytes is over the limit of {} bytes", text.size(),
                              limits.max_bytes));
  }
  json::parse_options options;
  options.max_depth = static_cast<std::size_t>(limits.max_depth);
  json::basic_parser<StrictHandler> parser(options, limits.allow_duplicate_keys);
  json::error_code ec;
  const std::size_t consumed = parser.write_some(false, text.data(), text.size(), ec);
  if (!parser.handler().duplicate_key().empty()) {
    const std::string key = parser.handler().duplicate_key().substr(0, 100);
    return invalid_argument(key, fmt::format("invalid JSON: duplicate key \"{}\"", key));
  }
  if (ec == json::error::too_deep) {
    return invalid_argument(
        "", fmt::format("invalid JSON: nested deeper than {} levels", limits.max_depth));
  }
  std::size_t end = consumed;
  if (!ec) {
    end = text.find_first_not_of(" \t\r\n", consumed);
    if (end != std::string_view::npos) ec = json::error::extra_data;
  }
  if (ec) {
    return invalid_argument(
        "", fmt::format("invalid JSON at byte {}: {}", std::min(end, text.size()), ec.message()));
  }
  return parser.handler().release();
}

std::string write_json(const json::value& value) {
  std::string out;
  append(value, out);
  return out;
}

}  // namespace tutti
