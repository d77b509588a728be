// Stop strings in a stream of text, wherever the stream is cut.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::text {

// The match that begins first wins; of those that begin at the same byte the shortest. No part of a
// stop string is ever given out (unless `include_stop`): the longest end of the text that may begin
// one is held back. The result does not depend on how the stream is cut.
// Time: each byte costs one amortised step for each stop string (Knuth-Morris-Pratt).
// Thread safety: one thread at a time.
class StopMatcher {
 public:
  // Empty stop strings are ignored.
  StopMatcher(std::vector<std::string> stops, bool include_stop);

  struct Output {
    std::string text;                       // never changes afterwards
    std::optional<std::string> stopped_by;  // the stop string, in the call that found it
  };

  // More text. After a stop everything is swallowed and an empty Output returned.
  Output push(std::string_view text);

  // The stream has ended: what was held back. A match that only waited for a longer one that began
  // before it counts now: the text ends before it and stopped_by() names it.
  std::string finish();

  const std::optional<std::string>& stopped_by() const { return stopped_by_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<std::size_t> failure;  // length of the longest border of each prefix
    std::size_t num_matched = 0;       // bytes of `text` that the end of the stream equals
  };
  struct Match {
    std::size_t begin;  // in held_
    std::size_t pattern_index;
  };

  void advance(Pattern& pattern, char byte) const;
  // Feeds the byte held_[end - 1] to every pattern; true once match_ can no longer be beaten.
  bool step(std::size_t end);
  std::string take_match();

  std::vector<Pattern> patterns_;
  bool include_stop_;
  std::optional<std::string> stopped_by_;
  std::optional<Match> match_;  // found, but one that began earlier may still complete
  std::string held_;            // the end of the stream that has not been given out
};

}  // namespace tutti::text
