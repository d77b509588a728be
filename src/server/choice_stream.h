// One choice's way from token ids to text: detokenised, searched for stop strings, given out as
// deltas for a dialect to render.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/event.h"
#include "core/request.h"
#include "dialects/dialect.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"
#include "text/tokenizer.h"

namespace tutti::server {

// Invariant: exactly one delta carries a finish reason, and none follows it.
// Thread safety: one thread at a time. The tokenizer must outlive it.
class ChoiceStream {
 public:
  // What of a request it reads.
  struct Options {
    int choice = 0;
    std::vector<std::string> stop;
    bool include_stop = false;
    bool skip_special_tokens = true;
    bool wants_tokens = false;  // log-probabilities or ids
    int min_tokens = 0;         // stop strings are not looked for before that many
  };
  ChoiceStream(const text::Tokenizer& tokenizer, Options options);

  // The output of one more token; ended by kStop when a stop string was found, and then the
  // sequence has to be cancelled. May be empty: has_output() says whether it is worth sending.
  dialects::OutputDelta push(const TokenEvent& event);
  // The engine ended the sequence. Must not be called once finished(). `end_token`: the one that
  // ended it, or -1; the client is told it as the stop reason when it had asked for that one.
  dialects::OutputDelta finish(FinishReason reason, TokenId end_token, bool is_stop_reason);

  bool finished() const { return finished_; }
  int num_tokens() const { return num_tokens_; }

  static bool has_output(const dialects::OutputDelta& delta) {
    return !delta.text.empty() || !delta.tokens.empty() || delta.finish_reason.has_value();
  }

 private:
  dialects::OutputToken token_of(const TokenEvent& event) const;
  void append_text(std::string_view text, dialects::OutputDelta& delta);

  const text::Tokenizer& tokenizer_;
  Options options_;
  text::IncrementalDetokenizer detokenizer_;
  text::StopMatcher stops_;
  int num_tokens_ = 0;
  bool finished_ = false;
};

}  // namespace tutti::server
