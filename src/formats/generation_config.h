// generation_config.json: the sampling settings that a model's makers recommend.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/gguf.h"

namespace tutti::formats {

// What is absent was not in the file, or was outside its range and has left a warning.
struct GenerationConfig {
  std::optional<double> temperature;         // >= 0
  std::optional<double> top_p;               // (0, 1]
  std::optional<double> min_p;               // [0, 1]
  std::optional<double> typical_p;           // (0, 1]
  std::optional<std::int32_t> top_k;         // >= 0; 0 turns it off
  std::optional<double> repetition_penalty;  // > 0
  std::optional<bool> do_sample;             // false: greedy unless a request says otherwise
  std::optional<std::int64_t> max_new_tokens;
  std::optional<std::int32_t> bos_token_id;
  std::optional<std::int32_t> pad_token_id;
  std::vector<std::int32_t> eos_token_ids;  // one or a list in the file; any of them ends
  // "generation_config.json: top_p is 3, must be in (0, 1]; ignored", for the log.
  std::vector<std::string> warnings;
};

// `file_name` stands in the warnings.
GenerationConfig parse_generation_config(const boost::json::object& object,
                                         const std::string& file_name);

// The same from a GGUF's general.sampling.* and tokenizer.ggml.{bos,eos,eot,padding}_token_id.
GenerationConfig generation_config_of(const GgufFile& file);

}  // namespace tutti::formats
