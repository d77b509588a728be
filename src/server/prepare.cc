#include "server/prepare.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/prompt_builder.h"
#include "server/random.h"
#include "server/sampling_defaults.h"
#include "text/tokenizer.h"

namespace tutti::server {
namespace {

Status check_token_fields(const SamplingParams& sampling, int vocab_size) {
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return invalid_argument("logit_bias", fmt::format("logit_bias has token id {}, must be in "
                                                        "[0, {})",
                                                        token, vocab_size));
    }
  }
  for (const TokenId token : sampling.stop_token_ids) {
    if (token < 0 || token >= vocab_size) {
      return invalid_argument(
          "stop_token_ids",
          fmt::format("stop_token_ids has token id {}, must be in [0, {})", token, vocab_size));
    }
  }
  return {};
}

// What a prompt may keep when it is cut to fit: room is left for the answer, a quarter of the
// context, or what the client asked for if that is less.
int prompt_limit_when_cut(const Request& request, int max_model_len) {
  const int answer = std::min(request.sampling.max_tokens, max_model_len / 4);
  return max_model_len - std::max(1, answer);
}

// Keeps the first `keep` tokens and the newest of the rest.
void cut_middle(std::vector<TokenId>& tokens, int limit, int keep) {
  const int size = static_cast<int>(tokens.size());
  if (size <= limit) return;
  const int kept = keep < 0 ? limit / 2 : std::min(keep, limit / 2);
  tokens.erase(tokens.begin() + kept, tokens.begin() + kept + (size - limit));
}

Status check_length(const Request& request, const std::vector<TokenId>& tokens, int max_model_len) {
  const int size = static_cast<int>(tokens.size());
  if (size == 0) return invalid_argument("prompt", "the prompt is empty: it has no tokens");
  const int needed = request.sampling.max_tokens == 0 ? 0 : 1;
  if (size + needed > max_model_len) {
    return invalid_argument(
        "prompt", fmt::format("This model's maximum context length is {} tokens. However, your "
                              "prompt has {} tokens, and at least one more is generated. Please "
                              "reduce the length of the prompt.",
                              max_model_len, size));
  }
  return {};
}

Result<int> resolve_max_tokens(const Request& request, int prompt_size, int max_model_len) {
  const int room = max_model_len - prompt_size;
  const int asked = request.sampling.max_tokens;
  if (asked <= room) return asked;
  if (asked == kUnlimitedTokens || request.clamp_max_tokens || !request.given.max_tokens) {
    return room;
  }
  return invalid_argument(
      "max_tokens",
      fmt::format("max_tokens is too large: {}. This model's maximum context length "
                  "is {} tokens and the prompt has {} tokens ({} > {} - {}).",
                  asked, max_model_len, prompt_size, asked, max_model_len, prompt_size));
}

Result<PreparedPrompt> prepare_prompt(const Prompt& prompt, const Request& request,
                                      const store::LoadedModel& model) {
  const int max_model_len = model.engine->max_model_len();
  const int limit = prompt_limit_when_cut(request, max_model_len);
  TUTTI_ASSIGN_OR_RETURN(BuiltPrompt built,
                         build_prompt(prompt, model, request.truncate_to_context, limit));
  if (request.truncate_prompt_tokens) {
    const auto keep = static_cast<std::size_t>(std::max(0, *request.truncate_prompt_tokens));
    if (built.tokens.size() > keep) {
      built.tokens.erase(built.tokens.begin(), built.tokens.end() - static_cast<long>(keep));
    }
  }
  if (request.truncate_to_context) {
    cut_middle(built.tokens, limit, request.truncate_keep_tokens);
  }
  TUTTI_RETURN_IF_ERROR(check_length(request, built.tokens, max_model_len));

  PreparedPrompt prepared;
  TUTTI_ASSIGN_OR_RETURN(
      prepared.max_tokens,
      resolve_max_tokens(request, static_cast<int>(built.tokens.size()), max_model_len));
  if (request.echo) {
    prepared.echo = std::holds_alternative<TokensPrompt>(prompt)
                        ? model.tokenizer->decode(built.tokens, request.skip_special_tokens)
                        : std::move(built.text);
  }
  prepared.tokens = std::move(built.tokens);
  return prepared;
}

}  // namespace

Result<PreparedRequest> prepare(Request request, std::shared_ptr<store::LoadedModel> model,
                                DefaultsFrom defaults, int max_sequences) {
  const std::size_t num_sequences =
      request.prompts.size() * static_cast<std::size_t>(std::max(1, request.n));
  if (num_sequences > static_cast<std::size_t>(max_sequences)) {
    return invalid_argument("n", fmt::format("n times the number of prompts is {}, must be at most "
                                             "{}",
                                             num_sequences, max_sequences));
  }
  apply_defaults(defaults, *model, request);
  TUTTI_RETURN_IF_ERROR(check_token_fields(request.sampling, model->vocab_size));
  if (!request.given.seed) request.sampling.seed = random_bits();

  PreparedRequest prepared;
  for (std::size_t i = 0; i < request.prompts.size(); ++i) {
    auto prompt = prepare_prompt(request.prompts[i], request, *model);
    if (!prompt.ok()) {
      return request.prompts.size() == 1
                 ? prompt.status()
                 : prompt.status().with_context(fmt::format("prompt[{}]", i));
    }
    prepared.prompts.push_back(std::move(*prompt));
  }
  request.prompts.clear();
  prepared.sampling = request.sampling;
  if (!request.sampling.ignore_eos) prepared.end_tokens = model->end_tokens;
  prepared.request = std::move(request);
  prepared.model = std::move(model);
  return prepared;
}

}  // namespace tutti::server
