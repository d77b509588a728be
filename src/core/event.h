// What the engine tells about one sequence. Every accepted sequence ends with exactly one terminal
// event: Finished or Failed.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "core/ids.h"

namespace tutti {

enum class FinishReason {
  kStop,    // an end token, a stop token or a stop string
  kLength,  // max_tokens or the context's end
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

// One new token.
struct TokenEvent {
  TokenId token = 0;
  std::int32_t index = 0;  // 0 for the first new token of the sequence
  // Set when SamplingParams::logprobs. Log-softmax of the model's own logits, before penalties,
  // bias, temperature and truncation (vLLM's `raw_logprobs`).
  float logprob = 0;
  std::vector<TokenLogprob> top_logprobs;  // best first; top_logprobs entries
};

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;  // new tokens, the one that ended the sequence included
  int cached_tokens = 0;      // prompt tokens whose keys and values were in the cache
};

// How long the phases of a sequence took.
struct Timings {
  Duration queued{};   // from submission to the first step that held a row of it
  Duration prefill{};  // from there to the first new token
  Duration decode{};   // from there to the end

  Duration total() const { return queued + prefill + decode; }
};

struct FinishedEvent {
  FinishReason reason = FinishReason::kStop;
  // The token that ended it, when one of stop_token_ids or the model's end tokens did; it is not
  // part of the text and no TokenEvent was sent for it.
  TokenId stop_token = -1;
  Usage usage;
  Timings timings;
};

struct FailedEvent {
  Status status;  // never ok
  Usage usage;
  Timings timings;  // of the phases that it came to, the last of them up to the end
};

using Event = std::variant<TokenEvent, FinishedEvent, FailedEvent>;

// Where a sequence's events go. Called on the engine's thread, so it must return at once and must
// not throw. Called from one thread at a time.
class EventReceiver {
 public:
  virtual ~EventReceiver() = default;
  virtual void receive(Event event) = 0;
};

// A move-only handle to a receiver that sends exactly one terminal event: if it is destroyed
// before one was sent, it sends Failed(kInternal) itself.
class EventSink {
 public:
  explicit EventSink(std::shared_ptr<EventReceiver> receiver) : receiver_(std::move(receiver)) {}
  EventSink(EventSink&&) noexcept = default;
  EventSink& operator=(EventSink&& other) noexcept;
  ~EventSink();

  // A token after a terminal event, or a second terminal event, is a bug (checked).
  void send(TokenEvent event);
  void finish(FinishedEvent event);
  void fail(FailedEvent event);
  bool ended() const { return receiver_ == nullptr; }

 private:
  std::shared_ptr<EventReceiver> receiver_;
};

}  // namespace tutti
