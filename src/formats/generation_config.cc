#include "formats/generation_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "formats/display.h"

namespace tutti::formats {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxEndTokens = 1024;

struct FloatField {
  const char* key;       // in generation_config.json
  const char* gguf_key;  // nullptr when GGUF has none
  std::optional<double> GenerationConfig::*member;
  bool (*is_valid)(double);
  const char* range;
};

bool is_non_negative(double x) { return x >= 0; }
bool is_positive(double x) { return x > 0; }
bool is_probability(double x) { return x >= 0 && x <= 1; }
bool is_positive_probability(double x) { return x > 0 && x <= 1; }

constexpr FloatField kFloatFields[] = {
    {"temperature", "general.sampling.temp", &GenerationConfig::temperature, is_non_negative,
     "0 or more"},
    {"top_p", "general.sampling.top_p", &GenerationConfig::top_p, is_positive_probability,
     "in (0, 1]"},
    {"min_p", "general.sampling.min_p", &GenerationConfig::min_p, is_probability, "in [0, 1]"},
    {"typical_p", nullptr, &GenerationConfig::typical_p, is_positive_probability, "in (0, 1]"},
    {"repetition_penalty", "general.sampling.penalty_repeat", &GenerationConfig::repetition_penalty,
     is_positive, "more than 0"},
};

// A finite JSON number.
std::optional<double> number_of(const json::value& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.to_number<double>();
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

// A JSON integer in low..high; 50.0 counts as one, as it does in Python's files.
std::optional<std::int64_t> integer_of(const json::value& value, std::int64_t low,
                                       std::int64_t high) {
  const auto number = number_of(value);
  if (!number || *number != std::floor(*number)) return std::nullopt;
  if (*number < static_cast<double>(low) || *number > static_cast<double>(high)) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

class Reader {
 public:
  Reader(const json::object& object, const std::string& file_name)
      : object_(object), file_name_(file_name) {}

  GenerationConfig run() {
    for (const FloatField& field : kFloatFields) read_float(field);
    // -1 is how some files turn it off.
    if (const auto top_k = read_integer("top_k", -1, kMaxInt32)) {
      config_.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(*top_k, 0));
    }
    config_.max_new_tokens = read_integer("max_new_tokens", 1, kMaxInt32);
    config_.bos_token_id = read_token("bos_token_id");
    config_.pad_token_id = read_token("pad_token_id");
    read_do_sample();
    read_end_tokens();
    return std::move(config_);
  }

 private:
  // nullptr for an absent key and for null, which means the same in these files.
  const json::value* find(std::string_view key) const {
    const json::value* value = object_.if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  void warn(std::string_view key, const json::value& value, std::string_view wanted) {
    config_.warnings.push_back(fmt::format("{}: {} is {}, must be {}; ignored", file_name_, key,
                                           display(write_json(value)), wanted));
  }

  void read_float(const FloatField& field) {
    const json::value* value = find(field.key);
    if (value == nullptr) return;
    const auto number = number_of(*value);
    if (number && field.is_valid(*number)) {
      config_.*field.member = *number;
    } else {
      warn(field.key, *value, field.range);
    }
  }

  std::optional<std::int64_t> read_integer(std::string_view key, std::int64_t low,
                                           std::int64_t high) {
    const json::value* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto integer = integer_of(*value, low, high);
    if (!integer) warn(key, *value, fmt::format("an integer in {}..{}", low, high));
    return integer;
  }

  std::optional<std::int32_t> read_token(std::string_view key) {
    const auto token = read_integer(key, 0, kMaxInt32);
    return token ? std::optional(static_cast<std::int32_t>(*token)) : std::nullopt;
  }

  void read_do_sample() {
    const json::value* value = find("do_sample");
    if (value == nullptr) return;
    if (value->is_bool()) {
      config_.do_sample = value->get_bool();
    } else {
      warn("do_sample", *value, "true or false");
    }
  }

  void read_end_tokens() {
    constexpr std::string_view kKey = "eos_token_id";
    const json::value* value = find(kKey);
    if (value == nullptr) return;
    const json::array single = {*value};
    const json::array& tokens = value->is_array() ? value->get_array() : single;
    if (tokens.size() > kMaxEndTokens) {
      config_.warnings.push_back(fmt::format("{}: {} has {} entries, must be at most {}; ignored",
                                             file_name_, kKey, tokens.size(), kMaxEndTokens));
      return;
    }
    for (const json::value& entry : tokens) {
      const auto token = integer_of(entry, 0, kMaxInt32);
      if (token) {
        config_.eos_token_ids.push_back(static_cast<std::int32_t>(*token));
      } else {
        warn(kKey, entry, fmt::format("an integer in 0..{}", kMaxInt32));
      }
    }
  }

  const json::object& object_;
  const std::string& file_name_;
  GenerationConfig config_;
};

}  // namespace

GenerationConfig parse_generation_config(const json::object& object, const std::string& file_name) {
  return Reader(object, file_name).run();
}

GenerationConfig generation_config_of(const GgufFile& file) {
  GenerationConfig config;
  for (const FloatField& field : kFloatFields) {
    if (field.gguf_key == nullptr || !file.has(field.gguf_key)) continue;
    const auto number = file.get_float(field.gguf_key);
    if (number.ok() && field.is_valid(*number)) {
      config.*field.member = *number;
    } else {
      config.warnings.push_back(number.ok()
                                    ? fmt::format("{}: key \"{}\" is {}, must be {}; ignored",
                                                  file.name(), field.gguf_key, *number, field.range)
                                    : number.status().message() + "; ignored");
    }
  }
  // An integer key in 0..2^31-1; anything else in it leaves a warning.
  const auto integer = [&](std::string_view key) -> std::optional<std::int32_t> {
    if (!file.has(key)) return std::nullopt;
    const auto value = file.get_int(key);
    if (value.ok() && *value >= 0 && *value <= kMaxInt32) return static_cast<std::int32_t>(*value);
    config.warnings.push_back(value.ok()
                                  ? fmt::format("{}: key \"{}\" is {}, must be in 0..{}; ignored",
                                                file.name(), key, *value, kMaxInt32)
                                  : value.status().message() + "; ignored");
    return std::nullopt;
  };
  config.top_k = integer("general.sampling.top_k");
  config.bos_token_id = integer("tokenizer.ggml.bos_token_id");
  config.pad_token_id = integer("tokenizer.ggml.padding_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const auto token = integer(key);
    const auto& known = config.eos_token_ids;
    if (token && std::find(known.begin(), known.end(), *token) == known.end()) {
      config.eos_token_ids.push_back(*token);
    }
  }
  return config;
}

}  // namespace tutti::formats
