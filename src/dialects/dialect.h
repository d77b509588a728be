// What every client protocol does for the server: a body becomes a Request, output becomes bytes,
// an error becomes a status and a body. Pure functions and small state machines: no I/O, no model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/event.h"
#include "core/request.h"

namespace tutti::dialects {

// A token as logprobs show it.
struct TokenText {
  TokenId id = 0;
  std::string text;   // as decoded alone; may hold U+FFFD
  std::string bytes;  // the raw bytes it stands for
  float logprob = 0;
};

struct OutputToken {
  TokenText token;
  std::vector<TokenText> top;  // best first
};

// New output of one choice.
struct OutputDelta {
  int choice = 0;                   // prompt_index * n + i
  std::string text;                 // valid UTF-8, stop strings already cut; may be empty
  std::vector<OutputToken> tokens;  // the tokens that gave it, when logprobs or ids were asked for
  std::optional<FinishReason> finish_reason;  // set once, on the choice's last delta
  std::optional<std::variant<std::string, TokenId>>
      stop_reason;     // stop string or token that ended it
  int num_tokens = 0;  // new tokens behind this delta, whether or not `tokens` lists them
  // The token that ended the choice: one of the answer's token ids, but of no text and without a
  // log-probability.
  std::optional<TokenId> end_token;
};

// Facts that come with the end of a request.
struct Completion {
  Usage usage;  // summed over prompts and choices (each prompt once)
  Timings timings;
  Duration load{};               // spent loading the model for this request
  Duration total{};              // since the request was read
  std::vector<TokenId> context;  // Ollama generate: prompt and answer tokens; else empty
};

// Facts that are known when a response begins.
struct ResponseHead {
  std::string id;     // without the dialect's prefix
  std::string model;  // the name to show
  std::int64_t created_unix_seconds = 0;
  std::string created_rfc3339;    // with fractions and zone, as Ollama's created_at
  std::vector<std::string> echo;  // completions with echo: the prompts' text
  std::vector<std::vector<TokenId>> prompt_token_ids;  // when the request asked for ids
  int prompt_tokens = 0;  // over all prompts; for continuous_usage_stats
};

// Turns one response into bytes. Streaming: begin, delta*, end | error, each giving the bytes to
// write now (framed: SSE or NDJSON; may be empty). Whole: whole() over all deltas in order.
// One object a response; used by one thread at a time.
class ResponseRenderer {
 public:
  virtual ~ResponseRenderer() = default;
  virtual std::string begin(const ResponseHead& head) = 0;
  virtual std::string delta(const OutputDelta& delta) = 0;
  // After a choice's finish the renderer may still be asked for other choices' deltas.
  // `usage_so_far` for continuous_usage_stats is kept by the renderer from the deltas.
  virtual std::string end(const Completion& completion) = 0;
  // Bytes that mean nothing and show a waiting client that we live; empty where the format has
  // none.
  virtual std::string keep_alive() = 0;
  // A terminal error in mid-stream.
  virtual std::string error(const Status& status) = 0;
  virtual std::string whole(const ResponseHead& head, const std::vector<OutputDelta>& deltas,
                            const Completion& completion) = 0;
  virtual const char* stream_content_type() const = 0;
};

// A parsed generation request and the renderer that knows its options.
struct ParsedRequest {
  Request request;
  std::unique_ptr<ResponseRenderer> renderer;
  // Ollama: an empty prompt asks only that the model be loaded. Answer with
  // renderer->whole(head, {}, completion), whatever request.stream says.
  bool load_only = false;
};

struct HttpError {
  int status = 500;
  std::string body;  // JSON
  std::string content_type = "application/json";
};

}  // namespace tutti::dialects
