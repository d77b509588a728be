// One request's way through the engine: its sequences are submitted, their events become deltas,
// and it ends exactly once, whatever happens to any of them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dialects/dialect.h"
#include "server/choice_stream.h"
#include "server/event_inbox.h"
#include "server/metrics.h"
#include "server/prepare.h"

namespace tutti::server {

// How a request went, whatever its end.
struct GenerationReport {
  Usage usage;
  Timings timings;
  const char* end = "";  // "stop", "length", "cancelled", or the kind of its error
};

// Thread safety: one thread at a time; the wake comes from the engine's thread.
class Generation {
 public:
  // Submits all sequences. `wake` is called, on the engine's thread, when output has come after
  // take() had found none. `metrics` may be null. `keeps_tokens`: completion().context is wanted.
  // On an error (kOverloaded, kUnavailable …) nothing of the request is left in the engine.
  static Result<std::unique_ptr<Generation>> start(PreparedRequest prepared,
                                                   std::function<void()> wake,
                                                   ModelMetrics* metrics, bool keeps_tokens);
  // Cancels what still runs.
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // The output since the last call, in order; those of different choices interleaved.
  std::vector<dialects::OutputDelta> take();

  // All choices have ended, or the request has failed.
  bool finished() const { return !failure_.ok() || num_open_ == 0; }
  // Ends the request with this error, unless it has finished; what still runs is cancelled.
  void fail(Status status);
  // Sequences of which the engine has not told the end; after a failure or an interruption they
  // end soon, and then report() has their times.
  bool has_open() const { return num_open_ > 0; }
  // Cancels what still runs. take() goes on to receive what the engine says of it.
  void cancel() { cancel_open(); }
  // Not ok when a sequence failed or fail() was called; the others are cancelled then, and
  // nothing more is given out.
  const Status& failure() const { return failure_; }

  const PreparedRequest& prepared() const { return prepared_; }
  // May be called once finished() and failure().ok(). `total` and `load` are the caller's.
  dialects::Completion completion() const;
  // May be called at any time.
  GenerationReport report() const;

 private:
  struct Choice {
    SequenceId id;
    ChoiceStream stream;
    bool open = true;  // the engine's terminal event has not come
    FinishReason reason = FinishReason::kStop;
    Usage usage;
    Timings timings;
    TimePoint first_token{}, last_token{};
    std::vector<TokenId> tokens;  // when keeps_tokens_
  };

  Generation(PreparedRequest prepared, std::function<void()> wake, ModelMetrics* metrics,
             bool keeps_tokens);
  Status submit_all();
  Status submit_choice(std::size_t prompt_index, int choice_of_prompt);
  void handle(InboxItem& item, std::vector<dialects::OutputDelta>& deltas);
  void on_token(Choice& choice, const TokenEvent& event, TimePoint arrived,
                std::vector<dialects::OutputDelta>& deltas);
  void on_finished(Choice& choice, const FinishedEvent& event,
                   std::vector<dialects::OutputDelta>& deltas);
  void on_failed(Choice& choice, const FailedEvent& event);
  // The phases as they look from here, for a sequence of which the engine has told nothing: the
  // time in the queue counts as prefill once there is a token.
  Timings own_timings(const Choice& choice) const;
  void close_choice(Choice& choice, const Usage& usage);
  void cancel_open();
  void record_outcome();

  PreparedRequest prepared_;
  ModelMetrics* metrics_;
  const bool keeps_tokens_;
  const TimePoint submitted_;
  std::shared_ptr<EventInbox> inbox_;
  std::vector<Choice> choices_;
  std::size_t num_open_ = 0;
  Status failure_;
  bool recorded_ = false;
};

}  // namespace tutti::server
