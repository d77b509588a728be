// Reads the fields of a request's JSON object by a table: each row names a field, says which
// values it takes and puts the value where it belongs. The same rows make the tables of
// docs/openai.md and docs/ollama.md, so that what a user reads is what the parser does.
//
// A field that is null counts as absent. An error is a 400 that names the field by its path
// ("messages[2].content") and says the bound.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "core/ids.h"

namespace tutti::dialects {

// A value and where it stands in the request.
struct FieldInput {
  const json::value& value;
  std::string path;
};

// [min, max], or (min, max] when the minimum itself is refused.
struct NumberRange {
  double min = 0;
  double max = 0;
  bool min_is_open = false;
};

struct IntegerRange {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<int>::max();
};

std::string describe(const NumberRange& range);   // "number in (0, 1]"
std::string describe(const IntegerRange& range);  // "integer in [0, 20]"

// "`path` must be <expected>, got <what came>".
Status wrong_value(const FieldInput& input, std::string_view expected);

Status read_number(const FieldInput& input, const NumberRange& range, double& out);
// A number with a fraction of zero ("5.0") counts as an integer.
Status read_integer(const FieldInput& input, const IntegerRange& range, std::int64_t& out);
Status read_integer(const FieldInput& input, const IntegerRange& range, int& out);
Status read_boolean(const FieldInput& input, bool& out);
Status read_string(const FieldInput& input, std::size_t max_bytes, std::string& out);
// A string or a list of at most `max_count` strings, none of them empty.
Status read_stop_strings(const FieldInput& input, std::size_t max_count,
                         std::vector<std::string>& out);
// A list of token ids, each in [0, 2^31 - 1]; the vocabulary's bound is the server's to check.
Status read_token_ids(const FieldInput& input, std::size_t max_count, std::vector<TokenId>& out);

Result<const json::object*> read_object(const FieldInput& input);
Result<const json::array*> read_array(const FieldInput& input, std::size_t max_count);

// The body of a request, which is one JSON object.
Result<json::object> parse_body(std::string_view body);

// Whether the field is there and not null.
bool has_field(const json::object& object, std::string_view name);

enum class Support {
  kHonoured,  // does what its name says
  kAccepted,  // its values are checked; it cannot change an answer, for the reason given
  kRefused,   // not built: 400, except for the values that ask for nothing
};

// What the documentation says about a field.
struct FieldDoc {
  std::string name;
  Support support = Support::kHonoured;
  std::string values;   // for kRefused: the values that ask for nothing, as JSON, joined by " | "
  std::string meaning;  // what it does, or why it does nothing
};

template <typename Draft>
struct Field {
  FieldDoc doc;
  std::function<Status(const FieldInput&, Draft&)> read;
};

// The rows of a table. `target` says where in the draft the value goes.
template <typename Draft, typename Target>
Field<Draft> number_field(std::string name, NumberRange range, Target target, std::string meaning) {
  return {{std::move(name), Support::kHonoured, describe(range), std::move(meaning)},
          [range, target](const FieldInput& input, Draft& draft) {
            return read_number(input, range, target(draft));
          }};
}

template <typename Draft, typename Target>
Field<Draft> integer_field(std::string name, IntegerRange range, Target target,
                           std::string meaning) {
  return {{std::move(name), Support::kHonoured, describe(range), std::move(meaning)},
          [range, target](const FieldInput& input, Draft& draft) {
            return read_integer(input, range, target(draft));
          }};
}

template <typename Draft, typename Target>
Field<Draft> boolean_field(std::string name, Target target, std::string meaning) {
  return {{std::move(name), Support::kHonoured, "boolean", std::move(meaning)},
          [target](const FieldInput& input, Draft& draft) {
            return read_boolean(input, target(draft));
          }};
}

template <typename Draft, typename Target>
Field<Draft> string_field(std::string name, std::size_t max_bytes, Target target,
                          std::string meaning) {
  return {{std::move(name), Support::kHonoured, fmt::format("string of <= {} bytes", max_bytes),
           std::move(meaning)},
          [max_bytes, target](const FieldInput& input, Draft& draft) {
            return read_string(input, max_bytes, target(draft));
          }};
}

// A request's own deadline, into `draft.request.timeout`.
inline constexpr NumberRange kTimeouts{0, 86400, true};
template <typename Draft>
Field<Draft> timeout_field() {
  return {{"timeout", Support::kHonoured, describe(kTimeouts),
           "seconds; then the answer ends with an error (status 504 where none was sent). The "
           "x-request-timeout field says the same; the shorter one holds"},
          [](const FieldInput& input, Draft& draft) {
            double seconds = 0;
            TUTTI_RETURN_IF_ERROR(read_number(input, kTimeouts, seconds));
            draft.request.timeout =
                std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
            return Status();
          }};
}

// A field that is checked for its type and has no effect.
template <typename Draft>
Field<Draft> accepted_boolean(std::string name, std::string reason) {
  return {{std::move(name), Support::kAccepted, "boolean", std::move(reason)},
          [](const FieldInput& input, Draft&) {
            bool ignored = false;
            return read_boolean(input, ignored);
          }};
}

template <typename Draft>
Field<Draft> accepted_string(std::string name, std::string reason) {
  constexpr std::size_t kMaxBytes = 1024;
  return {{std::move(name), Support::kAccepted, fmt::format("string of <= {} bytes", kMaxBytes),
           std::move(reason)},
          [](const FieldInput& input, Draft&) {
            std::string ignored;
            return read_string(input, kMaxBytes, ignored);
          }};
}

// kUnsupported naming the field, unless the value is one of `off` (see FieldDoc::values).
Status refuse_unless(const FieldInput& input, std::string_view off);

template <typename Draft>
Field<Draft> refused_field(std::string name, std::string off, std::string meaning) {
  return {{std::move(name), Support::kRefused, off, std::move(meaning)},
          [off](const FieldInput& input, Draft&) { return refuse_unless(input, off); }};
}

Status unknown_field(std::string_view path, std::string_view name);
std::string field_path(std::string_view path, std::string_view name);  // "options.seed"

// Reads every member of `object`, which stands at `path` in the request ("" for the body itself).
// With `ignored` null an unknown field is an error; else its path is appended there.
template <typename Draft>
Status read_fields(const json::object& object, const std::vector<Field<Draft>>& table,
                   std::string_view path, Draft& draft,
                   std::vector<std::string>* ignored = nullptr) {
  for (const auto& member : object) {
    const std::string_view key = member.key();
    auto field = std::find_if(table.begin(), table.end(),
                              [&](const Field<Draft>& row) { return row.doc.name == key; });
    if (field == table.end()) {
      if (ignored == nullptr) return unknown_field(path, key);
      constexpr std::size_t kMaxIgnored = 16;
      if (ignored->size() < kMaxIgnored) ignored->push_back(unknown_field(path, key).field());
      continue;
    }
    if (member.value().is_null()) continue;
    TUTTI_RETURN_IF_ERROR(field->read({member.value(), field_path(path, key)}, draft));
  }
  return {};
}

template <typename Draft>
std::vector<FieldDoc> docs_of(const std::vector<Field<Draft>>& table) {
  std::vector<FieldDoc> docs;
  for (const auto& field : table) docs.push_back(field.doc);
  return docs;
}

// Rows of a Markdown table: | `name` | how | values | meaning |
std::string render_field_table(const std::vector<FieldDoc>& docs);

}  // namespace tutti::dialects
