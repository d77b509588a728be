#include "dialects/ollama_fields.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "dialects/go_duration.h"
#include "dialects/ollama_messages.h"

namespace tutti::dialects::ollama {
namespace {

using Row = Field<Draft>;
using Table = std::vector<Row>;

constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxContextTokens = std::size_t{1} << 22;
constexpr std::size_t kMaxStopStrings = 16;
constexpr int kMaxTopLogprobs = 20;

Status read_keep_alive(const FieldInput& input, Draft& draft) {
  constexpr std::string_view kExpected = "seconds or a duration such as \"5m\"";
  if (input.value.is_string()) {
    std::string text;
    TUTTI_RETURN_IF_ERROR(read_string(input, 64, text));
    draft.keep_alive_seconds = parse_go_duration(text);
    return draft.keep_alive_seconds ? Status() : wrong_value(input, kExpected);
  }
  if (!input.value.is_number()) return wrong_value(input, kExpected);
  // A hundred years.
  constexpr double kMaxSeconds = 3.2e9;
  double seconds = 0;
  TUTTI_RETURN_IF_ERROR(read_number(input, {-kMaxSeconds, kMaxSeconds}, seconds));
  draft.keep_alive_seconds = seconds;
  return {};
}

// `think`: false says so to the chat template.
Status read_think(const FieldInput& input, Draft& draft) {
  TUTTI_RETURN_IF_ERROR(refuse_unless(input, "false"));
  draft.template_variables["enable_thinking"] = false;
  return {};
}

Status read_options(const FieldInput& input, Draft& draft) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  std::vector<std::string> unknown;
  TUTTI_RETURN_IF_ERROR(read_fields(*object, option_fields(), input.path, draft, &unknown));
  Request::Given& given = draft.request.given;
  given.temperature = has_field(*object, "temperature");
  given.top_k = has_field(*object, "top_k");
  given.top_p = has_field(*object, "top_p");
  given.min_p = has_field(*object, "min_p");
  given.typical_p = has_field(*object, "typical_p");
  given.repeat_penalty = has_field(*object, "repeat_penalty");
  given.repeat_last_n = has_field(*object, "repeat_last_n");
  given.frequency_penalty = has_field(*object, "frequency_penalty");
  given.presence_penalty = has_field(*object, "presence_penalty");
  given.max_tokens = has_field(*object, "num_predict");
  given.stop = has_field(*object, "stop");
  given.keep_tokens = has_field(*object, "num_keep");
  for (const std::string& path : unknown) {
    draft.warnings.push_back(fmt::format("`{}` is unknown and was ignored", path));
  }
  return {};
}

// An option of loading a model: it cannot change one that is running.
template <typename Read>
Row load_option(std::string name, std::string values, Read read) {
  return {{std::move(name), Support::kAccepted, std::move(values),
           "set when the server starts; ignored with a warning"},
          [read](const FieldInput& input, Draft& draft) {
            TUTTI_RETURN_IF_ERROR(read(input));
            draft.warnings.push_back(
                fmt::format("`{}` is set when the server starts and was ignored", input.path));
            return Status();
          }};
}

Row load_integer(std::string name, IntegerRange range) {
  return load_option(std::move(name), describe(range), [range](const FieldInput& input) {
    std::int64_t ignored = 0;
    return read_integer(input, range, ignored);
  });
}

Row load_boolean(std::string name) {
  return load_option(std::move(name), "boolean", [](const FieldInput& input) {
    bool ignored = false;
    return read_boolean(input, ignored);
  });
}

// A probability for which 0 means "only the best token": the sampler's range is (0, 1].
Row probability_option(std::string name, double& (*target)(Draft&), std::string meaning) {
  return {{std::move(name), Support::kHonoured, describe(NumberRange{0, 1}), std::move(meaning)},
          [target](const FieldInput& input, Draft& draft) {
            constexpr double kOnlyTheBest = 1e-9;
            TUTTI_RETURN_IF_ERROR(read_number(input, {0, 1}, target(draft)));
            target(draft) = std::max(target(draft), kOnlyTheBest);
            return Status();
          }};
}

Table common_rows() {
  return {
      string_field<Draft>(
          "model", 1024, [](Draft& d) -> std::string& { return d.request.model; },
          "may be absent when only one model is served"),
      string_field<Draft>(
          "name", 1024, [](Draft& d) -> std::string& { return d.legacy_name; },
          "older name of model"),
      boolean_field<Draft>(
          "stream", [](Draft& d) -> bool& { return d.request.stream; },
          "default true: one JSON object a line"),
      {{"options", Support::kHonoured, "object", "see below"}, read_options},
      {{"keep_alive", Support::kHonoured, "seconds, or a duration such as \"5m\"",
        "a model that is served stays loaded, so at least that long; to unload (0 with nothing to "
        "answer) is refused"},
       read_keep_alive},
      {{"think", Support::kRefused, "false",
        "no reasoning parser yet; false sets the template's "
        "enable_thinking to false"},
       read_think},
      boolean_field<Draft>(
          "truncate", [](Draft& d) -> bool& { return d.request.truncate_to_context; },
          "default true: a prompt longer than the context loses its oldest tokens beyond num_keep; "
          "false: it is refused"),
      accepted_boolean<Draft>("shift",
                              "the context is never shifted: the answer ends with `length`"),
      boolean_field<Draft>(
          "logprobs", [](Draft& d) -> bool& { return d.request.sampling.logprobs; },
          "log-probabilities of the answer's tokens, as the model gave them"),
      integer_field<Draft>(
          "top_logprobs", {0, kMaxTopLogprobs},
          [](Draft& d) -> int& { return d.request.sampling.top_logprobs; },
          "and of the best so many at each place; only with `logprobs: true`"),
      timeout_field<Draft>(),
      refused_field<Draft>("format", "\"\"", "no constrained answers yet"),
  };
}

Table joined(Table first, const Table& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

SamplingParams default_sampling() {
  SamplingParams sampling;
  sampling.temperature = 0.8;
  sampling.top_k = 40;
  sampling.top_p = 0.9;
  sampling.repeat_last_n = 64;
  return sampling;
}

const std::vector<Row>& chat_fields() {
  static const Table table = joined(
      {
          {{"messages", Support::kHonoured, "list of <= 4096 messages",
            "see below; none: the model is loaded and nothing is answered"},
           [](const FieldInput& input, Draft& d) { return read_messages(input, d.messages); }},
          refused_field<Draft>("tools", "[]", "no tool calls yet"),
      },
      common_rows());
  return table;
}

const std::vector<Row>& generate_fields() {
  static const Table table = joined(
      {
          string_field<Draft>(
              "prompt", kMaxTextBytes, [](Draft& d) -> std::string& { return d.prompt; },
              "none: the model is loaded and nothing is answered"),
          string_field<Draft>(
              "system", kMaxTextBytes, [](Draft& d) -> std::string& { return d.system; },
              "the system message"),
          string_field<Draft>(
              "template", kMaxTextBytes, [](Draft& d) -> std::string& { return d.template_source; },
              "in place of the model's own, in Go's template syntax"),
          boolean_field<Draft>(
              "raw", [](Draft& d) -> bool& { return d.raw; },
              "no template: the prompt as it stands; not with system, template or context"),
          {{"context", Support::kHonoured, "list of token ids",
            "the `context` of the answer before, which this prompt continues"},
           [](const FieldInput& input, Draft& d) {
             return read_token_ids(input, kMaxContextTokens, d.context);
           }},
          refused_field<Draft>("suffix", "\"\"", "no insertion"),
          refused_field<Draft>("images", "[]", "text only"),
      },
      common_rows());
  return table;
}

const std::vector<Row>& option_fields() {
  constexpr IntegerRange kSeeds{std::numeric_limits<std::int64_t>::min(),
                                std::numeric_limits<std::int64_t>::max()};
  static const Table table = {
      number_field<Draft>(
          "temperature", {0, 100},
          [](Draft& d) -> double& { return d.request.sampling.temperature; },
          "default 0.8; 0 is greedy, and so is anything below 1e-5"),
      integer_field<Draft>(
          "top_k", {-1}, [](Draft& d) -> int& { return d.request.sampling.top_k; },
          "default 40; -1 and 0 are off"),
      probability_option(
          "top_p", [](Draft& d) -> double& { return d.request.sampling.top_p; },
          "default 0.9; 1 is off, 0 leaves the best token"),
      number_field<Draft>(
          "min_p", {0, 1}, [](Draft& d) -> double& { return d.request.sampling.min_p; },
          "default 0: off"),
      probability_option(
          "typical_p", [](Draft& d) -> double& { return d.request.sampling.typical_p; },
          "default 1: off"),
      integer_field<Draft>(
          "repeat_last_n", {-1}, [](Draft& d) -> int& { return d.request.sampling.repeat_last_n; },
          "default 64; how many tokens the penalties look back at; -1: all, 0: none"),
      number_field<Draft>(
          "repeat_penalty", {0, 100, true},
          [](Draft& d) -> double& { return d.request.sampling.repeat_penalty; }, "default 1: off"),
      number_field<Draft>(
          "presence_penalty", {-2, 2},
          [](Draft& d) -> double& { return d.request.sampling.presence_penalty; },
          "default 0: off"),
      number_field<Draft>(
          "frequency_penalty", {-2, 2},
          [](Draft& d) -> double& { return d.request.sampling.frequency_penalty; },
          "default 0: off"),
      integer_field<Draft>(
          "seed", kSeeds, [](Draft& d) -> std::int64_t& { return d.seed; },
          "the same seed gives the same answer; default -1: a random one"),
      integer_field<Draft>(
          "num_predict", {-2}, [](Draft& d) -> int& { return d.num_predict; },
          "new tokens; default -1, and -2 and 0: to the end of the context"),
      integer_field<Draft>(
          "num_keep", {-1}, [](Draft& d) -> int& { return d.request.truncate_keep_tokens; },
          "default 4; the prompt's first tokens that truncation keeps, -1: all that fit"),
      {{"stop", Support::kHonoured, "string, or list of <= 16 strings",
        "ends the answer, and is not part of it"},
       [](const FieldInput& input, Draft& d) {
         return read_stop_strings(input, kMaxStopStrings, d.request.stop);
       }},
      load_integer("num_ctx", {0}),
      load_integer("num_batch", {0}),
      load_integer("num_gpu", {-1}),
      load_integer("main_gpu", {0}),
      load_integer("num_thread", {0}),
      load_integer("draft_num_predict", {0}),
      load_boolean("use_mmap"),
  };
  return table;
}

}  // namespace tutti::dialects::ollama
