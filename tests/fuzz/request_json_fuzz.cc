// Bodies of requests, from any bytes, through every dialect's parser; what is accepted keeps the
// ranges that the sampler relies on, and its renderer writes valid JSON.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "dialects/ollama.h"
#include "dialects/openai.h"

namespace {

using namespace tutti;
using namespace tutti::dialects;

void require(bool holds) {
  if (!holds) std::abort();
}

// The ranges that core/sampling_params.h promises.
void check_sampling(const SamplingParams& sampling) {
  require(sampling.temperature >= 0 && sampling.temperature <= 100);
  require(sampling.top_k >= -1);
  require(sampling.top_p > 0 && sampling.top_p <= 1);
  require(sampling.min_p >= 0 && sampling.min_p <= 1);
  require(sampling.typical_p > 0 && sampling.typical_p <= 1);
  require(sampling.repeat_penalty > 0 && sampling.repeat_penalty <= 100);
  require(sampling.repeat_last_n >= -1);
  require(sampling.frequency_penalty >= -2 && sampling.frequency_penalty <= 2);
  require(sampling.presence_penalty >= -2 && sampling.presence_penalty <= 2);
  require(sampling.max_tokens >= 1 && sampling.min_tokens >= 0);
  require(sampling.min_tokens <= sampling.max_tokens);
  require(sampling.top_logprobs >= 0 && sampling.top_logprobs <= 20);
  for (const auto& [token, bias] : sampling.logit_bias) {
    require(token >= 0 && bias >= -100 && bias <= 100);
  }
  for (TokenId token : sampling.stop_token_ids) require(token >= 0);
}

// Every event or line of a stream is JSON, the marks around it aside.
void check_stream(std::string_view stream) {
  while (!stream.empty()) {
    const std::size_t end = stream.find('\n');
    require(end != std::string_view::npos);
    std::string_view line = stream.substr(0, end);
    stream.remove_prefix(end + 1);
    if (line.starts_with("data: ")) line.remove_prefix(6);
    if (!line.empty() && line != "[DONE]") require(parse_json(line).ok());
  }
}

std::vector<OutputDelta> sample_deltas(int num_choices) {
  std::vector<OutputDelta> deltas;
  for (int choice = 0; choice < num_choices; ++choice) {
    OutputToken token;
    token.token = {7, "\xEF\xBF\xBD", "\xC3", -1.5f};
    token.top = {token.token, token.token};
    OutputDelta text;
    text.choice = choice;
    text.text = "a\n\"\x01";
    text.tokens = {token};
    text.num_tokens = 1;
    OutputDelta finish;
    finish.choice = choice;
    finish.finish_reason = FinishReason::kStop;
    finish.stop_reason = TokenId{7};
    deltas.push_back(text);
    deltas.push_back(finish);
  }
  return deltas;
}

void check(Result<ParsedRequest> result) {
  if (!result.ok()) {
    require(!result.status().message().empty());
    require(parse_json(openai::render_error(result.status()).body).ok());
    require(parse_json(ollama::render_error(result.status()).body).ok());
    return;
  }
  ParsedRequest& parsed = *result;
  check_sampling(parsed.request.sampling);
  require(parsed.load_only == parsed.request.prompts.empty());
  const int num_choices = static_cast<int>(parsed.request.prompts.size()) * parsed.request.n;
  require(num_choices <= 1024);
  ResponseHead head;
  head.id = parsed.request.request_id;
  head.model = parsed.request.model;
  head.echo.assign(parsed.request.prompts.size(), "echo");
  head.prompt_token_ids.assign(parsed.request.prompts.size(), {1, 2});
  const std::vector<OutputDelta> deltas = sample_deltas(num_choices);
  ResponseRenderer& renderer = *parsed.renderer;
  std::string stream = renderer.begin(head);
  for (const OutputDelta& delta : deltas) stream += renderer.delta(delta);
  stream += renderer.end({});
  stream += renderer.error(not_found("gone"));
  check_stream(stream);
  require(parse_json(renderer.whole(head, deltas, {})).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> warnings;
  check(openai::parse_chat_completion(body));
  check(openai::parse_completion(body));
  check(ollama::parse_chat(body, &warnings));
  check(ollama::parse_generate(body, &warnings));
  (void)ollama::parse_show(body).ok();
  (void)ollama::canonical_name(body);
  return 0;
}
