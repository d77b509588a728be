#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tutti::text {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : include_stop_(include_stop) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    Pattern pattern{std::move(stop), {}, 0};
    pattern.failure.assign(pattern.text.size(), 0);
    std::size_t border = 0;
    for (std::size_t i = 1; i < pattern.text.size(); ++i) {
      while (border > 0 && pattern.text[i] != pattern.text[border]) {
        border = pattern.failure[border - 1];
      }
      if (pattern.text[i] == pattern.text[border]) ++border;
      pattern.failure[i] = border;
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::advance(Pattern& pattern, char byte) const {
  if (pattern.num_matched == pattern.text.size()) {
    pattern.num_matched = pattern.failure[pattern.num_matched - 1];
  }
  while (pattern.num_matched > 0 && pattern.text[pattern.num_matched] != byte) {
    pattern.num_matched = pattern.failure[pattern.num_matched - 1];
  }
  if (pattern.text[pattern.num_matched] == byte) ++pattern.num_matched;
}

bool StopMatcher::step(std::size_t end) {
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    Pattern& pattern = patterns_[i];
    advance(pattern, held_[end - 1]);
    if (pattern.num_matched != pattern.text.size()) continue;
    const std::size_t begin = end - pattern.text.size();
    if (!match_ || begin < match_->begin) match_ = Match{begin, i};
  }
  return match_ && std::none_of(patterns_.begin(), patterns_.end(), [&](const Pattern& pattern) {
           return pattern.num_matched < pattern.text.size() &&
                  end - pattern.num_matched < match_->begin;
         });
}

std::string StopMatcher::take_match() {
  const std::string& stop = patterns_[match_->pattern_index].text;
  stopped_by_ = stop;
  std::string text = held_.substr(0, match_->begin + (include_stop_ ? stop.size() : 0));
  held_.clear();
  return text;
}

StopMatcher::Output StopMatcher::push(std::string_view text) {
  if (stopped_by_) return {};
  if (patterns_.empty()) return {std::string(text), std::nullopt};
  std::size_t end = held_.size();
  held_.append(text);
  while (end < held_.size()) {
    ++end;
    if (step(end)) {
      std::string before = take_match();
      return {std::move(before), stopped_by_};
    }
  }
  std::size_t keep_from = match_ ? match_->begin : end;
  for (const Pattern& pattern : patterns_) {
    keep_from = std::min(keep_from, end - pattern.num_matched);
  }
  Output output{held_.substr(0, keep_from), std::nullopt};
  held_.erase(0, keep_from);
  if (match_) match_->begin -= keep_from;
  return output;
}

std::string StopMatcher::finish() {
  if (stopped_by_) return {};
  if (match_) return take_match();
  return std::exchange(held_, {});
}

}  // namespace tutti::text
