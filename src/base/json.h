// JSON from untrusted bytes: strict, bounded, duplicate keys refused.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti {

namespace json = boost::json;

struct JsonLimits {
  int max_depth = 64;
  std::size_t max_bytes = std::size_t{64} << 20;
  // Files made by tools (tokenizer.json) may repeat keys; requests may not.
  bool allow_duplicate_keys = false;
};

// Parses one JSON value that is the whole of `text` (white space around it is allowed).
// Errors (kInvalidArgument, kTooLarge): syntax with its byte offset, invalid UTF-8, lone
// surrogates, depth, size, a duplicate key (named).
Result<json::value> parse_json(std::string_view text, const JsonLimits& limits = {});

// One line of JSON, members in their order. A double is the shortest text that reads back as it:
// 1.2 and not 1.2E0; NaN and the infinities, which JSON lacks, become null.
std::string write_json(const json::value& value);

}  // namespace tutti
