#include "dialects/openai_fields.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "dialects/openai_messages.h"

namespace tutti::dialects::openai {
namespace {

using Row = Field<Draft>;
using Table = std::vector<Row>;

constexpr std::size_t kMaxTokenIds = 4096;
constexpr std::size_t kMaxPrompts = 256;
constexpr std::size_t kMaxPromptTokens = std::size_t{1} << 22;
constexpr std::int64_t kMaxPriority = 1000;
constexpr std::size_t kMaxLogitBias = std::size_t{1} << 16;

// The id that a key of logit_bias writes in decimal digits, without sign or leading zeros.
std::optional<TokenId> parse_token_key(std::string_view key) {
  TokenId id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  const bool canonical = !key.empty() && key[0] != '-' && (key[0] != '0' || key.size() == 1);
  if (error != std::errc() || end != key.data() + key.size() || !canonical) return std::nullopt;
  return id;
}

Status read_logit_bias(const FieldInput& input, Draft& draft) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  if (object->size() > kMaxLogitBias) {
    return invalid_argument(input.path, fmt::format("`{}` has {} entries, the limit is {}",
                                                    input.path, object->size(), kMaxLogitBias));
  }
  for (const auto& member : *object) {
    const std::optional<TokenId> id = parse_token_key(member.key());
    if (!id) {
      const json::value key(member.key());
      return wrong_value({key, input.path}, "an object whose keys are token ids");
    }
    double bias = 0;
    TUTTI_RETURN_IF_ERROR(
        read_number({member.value(), field_path(input.path, member.key())}, {-100, 100}, bias));
    draft.request.sampling.logit_bias.emplace_back(*id, static_cast<float>(bias));
  }
  return {};
}

// One of a completion's prompts: text or token ids.
Status read_one_prompt(const FieldInput& input, Draft& draft) {
  if (input.value.is_string()) {
    const json::string& text = input.value.get_string();
    draft.prompts.push_back(TextPrompt{std::string(text.data(), text.size()), true, {}});
    return {};
  }
  if (!input.value.is_array()) return wrong_value(input, "a string or a list of token ids");
  TokensPrompt prompt;
  TUTTI_RETURN_IF_ERROR(read_token_ids(input, kMaxPromptTokens, prompt.tokens));
  if (prompt.tokens.empty()) return wrong_value(input, "a list of at least one token id");
  draft.prompts.push_back(std::move(prompt));
  return {};
}

Status read_prompt(const FieldInput& input, Draft& draft) {
  const json::array* list = input.value.if_array();
  const bool is_list_of_prompts =
      list != nullptr && !list->empty() && (list->front().is_string() || list->front().is_array());
  if (!is_list_of_prompts) return read_one_prompt(input, draft);
  TUTTI_RETURN_IF_ERROR(read_array(input, kMaxPrompts).status());
  for (std::size_t i = 0; i < list->size(); ++i) {
    TUTTI_RETURN_IF_ERROR(
        read_one_prompt({(*list)[i], fmt::format("{}[{}]", input.path, i)}, draft));
  }
  return {};
}

Status read_stream_options(const FieldInput& input, Draft& draft) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  return read_fields(*object, stream_options_fields(), input.path, draft);
}

Status read_template_variables(const FieldInput& input, Draft& draft) {
  constexpr std::size_t kMaxVariables = 64;
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  if (object->size() > kMaxVariables) {
    return invalid_argument(input.path, fmt::format("`{}` has {} entries, the limit is {}",
                                                    input.path, object->size(), kMaxVariables));
  }
  for (std::string_view reserved : {"messages", "tools", "documents", "chat_template", "tokenize",
                                    "add_generation_prompt", "continue_final_message"}) {
    if (!object->contains(reserved)) continue;
    const std::string path = field_path(input.path, reserved);
    return invalid_argument(path, fmt::format("`{}` is set by the request itself", path));
  }
  for (const auto& member : *object) {
    draft.chat.template_variables.insert_or_assign(member.key(), member.value());
  }
  return {};
}

Status read_reasoning_effort(const FieldInput& input, Draft& draft) {
  std::string effort;
  TUTTI_RETURN_IF_ERROR(read_string(input, 64, effort));
  for (std::string_view known : {"none", "minimal", "low", "medium", "high", "xhigh"}) {
    if (effort != known) continue;
    draft.chat.template_variables.insert_or_assign("reasoning_effort", effort);
    if (effort == "none") draft.chat.template_variables.insert_or_assign("enable_thinking", false);
    return {};
  }
  return wrong_value(input, "one of none, minimal, low, medium, high, xhigh");
}

Status read_request_id(const FieldInput& input, Draft& draft) {
  TUTTI_RETURN_IF_ERROR(read_string(input, 128, draft.request.request_id));
  const std::string& id = draft.request.request_id;
  const bool printable =
      !id.empty() && std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 127; });
  return printable ? Status() : wrong_value(input, "1 to 128 printable ASCII characters");
}

Status read_cache_salt(const FieldInput& input, Draft& draft) {
  TUTTI_RETURN_IF_ERROR(read_string(input, 1024, draft.request.cache_salt));
  return draft.request.cache_salt.empty() ? wrong_value(input, "a string that is not empty")
                                          : Status();
}

Status read_metadata(const FieldInput& input, Draft&) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* object, read_object(input));
  for (const auto& member : *object) {
    std::string ignored;
    TUTTI_RETURN_IF_ERROR(
        read_string({member.value(), field_path(input.path, member.key())}, 4096, ignored));
  }
  return {};
}

// A list of token ids that goes into the sampling parameters.
Status read_stop_token_ids(const FieldInput& input, Draft& draft) {
  return read_token_ids(input, kMaxTokenIds, draft.request.sampling.stop_token_ids);
}

Table sampling_rows() {
  constexpr IntegerRange kSeeds{std::numeric_limits<std::int64_t>::min(),
                                std::numeric_limits<std::int64_t>::max()};
  return {
      number_field<Draft>(
          "temperature", {0, 100},
          [](Draft& d) -> double& { return d.request.sampling.temperature; },
          "0 is greedy, and so is anything below 1e-5; default: the model's, else 1"),
      number_field<Draft>(
          "top_p", {0, 1, true}, [](Draft& d) -> double& { return d.request.sampling.top_p; },
          "1 is off; default: the model's, else 1"),
      integer_field<Draft>(
          "top_k", {-1}, [](Draft& d) -> int& { return d.request.sampling.top_k; },
          "-1 and 0 are off; default: the model's, else off"),
      number_field<Draft>(
          "min_p", {0, 1}, [](Draft& d) -> double& { return d.request.sampling.min_p; },
          "0 is off"),
      number_field<Draft>(
          "typical_p", {0, 1, true},
          [](Draft& d) -> double& { return d.request.sampling.typical_p; }, "1 is off"),
      number_field<Draft>(
          "repetition_penalty", {0, 100, true},
          [](Draft& d) -> double& { return d.request.sampling.repeat_penalty; },
          "1 is off; over prompt and answer"),
      number_field<Draft>(
          "repeat_penalty", {0, 100, true},
          [](Draft& d) -> double& { return d.request.sampling.repeat_penalty; },
          "llama.cpp's name for repetition_penalty; only one of the two may be given"),
      integer_field<Draft>(
          "repeat_last_n", {-1}, [](Draft& d) -> int& { return d.request.sampling.repeat_last_n; },
          "how many tokens the penalties look back at; -1 (default): all; 0: none"),
      number_field<Draft>(
          "frequency_penalty", {-2, 2},
          [](Draft& d) -> double& { return d.request.sampling.frequency_penalty; }, "0 is off"),
      number_field<Draft>(
          "presence_penalty", {-2, 2},
          [](Draft& d) -> double& { return d.request.sampling.presence_penalty; }, "0 is off"),
      {{"logit_bias", Support::kHonoured, "object: token id → number in [-100, 100]",
        "added to the logits"},
       read_logit_bias},
      integer_field<Draft>(
          "seed", kSeeds, [](Draft& d) -> std::int64_t& { return d.seed; },
          "the same seed gives the same answer; -1 counts as absent: a random one"),
      {{"stop", Support::kHonoured, "string, or list of <= 16 strings",
        "ends the answer, and is not part of it"},
       [](const FieldInput& input, Draft& d) {
         return read_stop_strings(input, kMaxStopStrings, d.request.stop);
       }},
      {{"stop_token_ids", Support::kHonoured, "list of <= 4096 token ids",
        "end the answer besides the model's own end tokens"},
       read_stop_token_ids},
      integer_field<Draft>(
          "min_tokens", {0}, [](Draft& d) -> int& { return d.request.sampling.min_tokens; },
          "no end before that many tokens; at most max_tokens"),
      boolean_field<Draft>(
          "ignore_eos", [](Draft& d) -> bool& { return d.request.sampling.ignore_eos; },
          "the model's end tokens do not end the answer"),
      integer_field<Draft>(
          "n", {1, kMaxChoices}, [](Draft& d) -> int& { return d.request.n; },
          "choices for each prompt; at most 1024 over all prompts"),
  };
}

Table common_rows() {
  return {
      string_field<Draft>(
          "model", 1024, [](Draft& d) -> std::string& { return d.request.model; },
          "may be absent when only one model is served"),
      boolean_field<Draft>(
          "stream", [](Draft& d) -> bool& { return d.request.stream; }, "server-sent events"),
      {{"stream_options", Support::kHonoured, "object, only with `stream: true`", "see below"},
       read_stream_options},
      boolean_field<Draft>(
          "include_stop_str_in_output",
          [](Draft& d) -> bool& { return d.request.include_stop_str_in_output; },
          "the stop string stays at the answer's end"),
      boolean_field<Draft>(
          "skip_special_tokens", [](Draft& d) -> bool& { return d.request.skip_special_tokens; },
          "default true: special tokens give no text"),
      integer_field<Draft>(
          "truncate_prompt_tokens", {-1},
          [](Draft& d) -> std::int64_t& { return d.truncate_prompt; },
          "keeps the prompt's last so many tokens; -1: as many as the context holds"),
      boolean_field<Draft>(
          "return_token_ids", [](Draft& d) -> bool& { return d.request.return_token_ids; },
          "adds `prompt_token_ids` and `token_ids`, the token that ended the answer included"),
      {{"request_id", Support::kHonoured, "1 to 128 printable ASCII characters",
        "becomes the response's id"},
       read_request_id},
      accepted_string<Draft>("user", "for accounting; the answer does not depend on it"),
      accepted_string<Draft>("safety_identifier", "as user"),
      accepted_string<Draft>("prompt_cache_key", "a hint for caches; answers never depend on them"),
      {{"cache_salt", Support::kHonoured, "string of 1 to 1024 bytes",
        "prompts share what is cached of them only with prompts of the same salt and tenant"},
       read_cache_salt},
      accepted_boolean<Draft>("cache_prompt", "as prompt_cache_key"),
      {{"metadata", Support::kAccepted, "object: string → string",
        "belongs to stored responses, and nothing is stored"},
       read_metadata},
      refused_field<Draft>("store", "false", "nothing is stored"),
      refused_field<Draft>("service_tier", "\"auto\" | \"default\"", "there is one tier"),
      integer_field<Draft>(
          "priority", {-kMaxPriority, kMaxPriority},
          [](Draft& d) -> int& { return d.request.priority; },
          "default 0; requests of a smaller number are computed first"),
      timeout_field<Draft>(),
  };
}

Table refused_sampling_rows() {
  return {
      refused_field<Draft>("use_beam_search", "false", "no beam search"),
      refused_field<Draft>("length_penalty", "1", "belongs to beam search"),
      refused_field<Draft>("early_stopping", "false", "belongs to beam search"),
      refused_field<Draft>("prompt_logprobs", "", "no log-probabilities of the prompt"),
      refused_field<Draft>("n_probs", "0", "llama.cpp's name; use logprobs"),
      refused_field<Draft>("allowed_token_ids", "", "not built"),
      refused_field<Draft>("bad_words", "[]", "not built"),
      refused_field<Draft>("logits_processors", "[]", "no code from clients"),
      refused_field<Draft>("structured_outputs", "", "no constrained answers yet"),
      refused_field<Draft>("guided_json", "", "no constrained answers yet"),
      refused_field<Draft>("guided_regex", "", "no constrained answers yet"),
      refused_field<Draft>("guided_choice", "", "no constrained answers yet"),
      refused_field<Draft>("guided_grammar", "", "no constrained answers yet"),
      refused_field<Draft>("guided_decoding_backend", "", "no constrained answers yet"),
      refused_field<Draft>("guided_whitespace_pattern", "", "no constrained answers yet"),
      refused_field<Draft>("grammar", "\"\"", "no constrained answers yet"),
      refused_field<Draft>("json_schema", "{}", "no constrained answers yet"),
      refused_field<Draft>("response_format", "{\"type\":\"text\"}", "no constrained answers yet"),
      refused_field<Draft>("thinking_token_budget", "", "not built"),
      refused_field<Draft>("xtc_probability", "0", "not built"),
      refused_field<Draft>("xtc_threshold", "0.1 | 0", "not built"),
      refused_field<Draft>("dry_multiplier", "0", "not built"),
      refused_field<Draft>("dry_base", "1.75 | 0", "not built"),
      refused_field<Draft>("dry_allowed_length", "2 | 0", "not built"),
      refused_field<Draft>("dry_penalty_last_n", "-1 | 0", "not built"),
      refused_field<Draft>("dry_sequence_breakers", "[] | [\"\\n\",\":\",\"\\\"\",\"*\"]",
                           "not built"),
      refused_field<Draft>("mirostat", "0", "not built"),
      refused_field<Draft>("mirostat_tau", "5 | 0", "not built"),
      refused_field<Draft>("mirostat_eta", "0.1 | 0", "not built"),
      refused_field<Draft>("dynatemp_range", "0", "not built"),
      refused_field<Draft>("dynatemp_exponent", "1 | 0", "not built"),
      refused_field<Draft>("top_n_sigma", "-1 | 0", "not built"),
      refused_field<Draft>("spaces_between_special_tokens", "true", "not built"),
      refused_field<Draft>("return_tokens_as_token_ids", "false", "use return_token_ids"),
  };
}

Table chat_rows() {
  return {
      {{"messages", Support::kHonoured, "list of 1 to 4096 messages", "see below"},
       [](const FieldInput& input, Draft& d) { return read_messages(input, d.chat.messages); }},
      integer_field<Draft>(
          "max_completion_tokens", {1}, [](Draft& d) -> int& { return d.max_completion_tokens; },
          "default: to the end of the context; if both are given, the smaller one holds"),
      integer_field<Draft>(
          "max_tokens", {1}, [](Draft& d) -> int& { return d.max_tokens; },
          "as max_completion_tokens"),
      boolean_field<Draft>(
          "logprobs", [](Draft& d) -> bool& { return d.request.sampling.logprobs; },
          "log-probabilities of the answer's tokens, as the model gave them"),
      integer_field<Draft>(
          "top_logprobs", {0, kMaxTopLogprobs},
          [](Draft& d) -> int& { return d.request.sampling.top_logprobs; },
          "and of the best so many at each place; only with `logprobs: true`"),
      boolean_field<Draft>(
          "add_generation_prompt", [](Draft& d) -> bool& { return d.chat.add_generation_prompt; },
          "default true, or false with continue_final_message"),
      boolean_field<Draft>(
          "continue_final_message", [](Draft& d) -> bool& { return d.chat.continue_final_message; },
          "the last message is the beginning of the answer; not with add_generation_prompt"),
      boolean_field<Draft>(
          "add_special_tokens", [](Draft& d) -> bool& { return d.chat.add_special_tokens; },
          "default false: the template writes them"),
      {{"chat_template_kwargs", Support::kHonoured, "object of <= 64 entries",
        "variables for the chat template"},
       read_template_variables},
      {{"reasoning_effort", Support::kHonoured, "none, minimal, low, medium, high or xhigh",
        "a variable for the chat template; none also sets enable_thinking to false"},
       read_reasoning_effort},
      accepted_boolean<Draft>("parallel_tool_calls", "there are no tools yet"),
      accepted_boolean<Draft>("include_reasoning", "there is no reasoning parser yet"),
      refused_field<Draft>("tools", "[]", "no tool calls yet"),
      refused_field<Draft>("tool_choice", "\"none\" | \"auto\"", "no tool calls yet"),
      refused_field<Draft>("functions", "[]", "no tool calls yet"),
      refused_field<Draft>("function_call", "\"none\" | \"auto\"", "no tool calls yet"),
      refused_field<Draft>("modalities", "[\"text\"]", "text only"),
      refused_field<Draft>("audio", "", "text only"),
      refused_field<Draft>("prediction", "", "not built"),
      refused_field<Draft>("web_search_options", "", "not built"),
      refused_field<Draft>("verbosity", "\"medium\"", "not built"),
      refused_field<Draft>("chat_template", "", "templates from clients are off"),
      refused_field<Draft>("documents", "[]", "not built"),
      refused_field<Draft>("mm_processor_kwargs", "{}", "text only"),
      refused_field<Draft>("echo", "false", "completions only"),
  };
}

Table completion_rows() {
  return {
      {{"prompt", Support::kHonoured,
        "string, list of <= 256 strings, list of token ids, or list of lists of token ids",
        "choices of prompt i have the indices i * n … i * n + n - 1"},
       read_prompt},
      integer_field<Draft>(
          "max_tokens", {1}, [](Draft& d) -> int& { return d.max_tokens; }, "default 16"),
      {{"logprobs", Support::kHonoured, describe(IntegerRange{0, kMaxTopLogprobs}),
        "log-probabilities of the chosen token and of the best so many at each place"},
       [](const FieldInput& input, Draft& d) {
         d.request.sampling.logprobs = true;
         return read_integer(input, {0, kMaxTopLogprobs}, d.request.sampling.top_logprobs);
       }},
      boolean_field<Draft>(
          "echo", [](Draft& d) -> bool& { return d.request.echo; },
          "the prompt comes first; not with logprobs"),
      integer_field<Draft>(
          "best_of", {1, kMaxChoices}, [](Draft& d) -> int& { return d.best_of; }, "must equal n"),
      boolean_field<Draft>(
          "add_special_tokens", [](Draft& d) -> bool& { return d.add_special_tokens; },
          "default true: a text prompt gets the tokenizer's start token"),
      refused_field<Draft>("suffix", "\"\"", "no insertion"),
      refused_field<Draft>("prompt_embeds", "", "not built"),
  };
}

Table joined(std::initializer_list<Table> tables) {
  Table all;
  for (const Table& table : tables) all.insert(all.end(), table.begin(), table.end());
  return all;
}

}  // namespace

const std::vector<Row>& chat_completion_fields() {
  static const Table table =
      joined({chat_rows(), sampling_rows(), common_rows(), refused_sampling_rows()});
  return table;
}

const std::vector<Row>& completion_fields() {
  static const Table table =
      joined({completion_rows(), sampling_rows(), common_rows(), refused_sampling_rows()});
  return table;
}

const std::vector<Row>& stream_options_fields() {
  static const Table table = {
      boolean_field<Draft>(
          "include_usage", [](Draft& d) -> bool& { return d.request.include_usage; },
          "a last chunk without choices carries `usage`"),
      boolean_field<Draft>(
          "continuous_usage_stats",
          [](Draft& d) -> bool& { return d.request.continuous_usage_stats; },
          "every chunk carries `usage` so far; only with include_usage"),
      refused_field<Draft>("include_obfuscation", "false", "not built"),
  };
  return table;
}

}  // namespace tutti::dialects::openai
