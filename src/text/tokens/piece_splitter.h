// What becomes of the matches of a delimiter: the behaviours of a split.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "text/text_span.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

// Collects the pieces of one text. Matches come in order by match(); gaps are filled in.
// "a-b" cut at "-": kRemoved a|b, kIsolated a|-|b, kMergedWithPrevious a-|b, kMergedWithNext a|-b;
// "a--b": kContiguous a|--|b. Empty pieces are left out.
class PieceSplitter {
 public:
  // Pieces are appended to `pieces` as ranges of the text that `whole` is a range of.
  PieceSplitter(TextSpan whole, SplitBehavior behavior, bool invert, std::vector<TextSpan>& pieces)
      : whole_(whole),
        behavior_(behavior),
        invert_(invert),
        pieces_(pieces),
        first_piece_(pieces.size()),
        position_(whole.begin) {}

  // A range of the whole text.
  void match(TextSpan span) {
    if (span.begin > position_) add({position_, span.begin}, invert_);
    add(span, !invert_);
    position_ = span.end;
  }
  void finish() {
    if (position_ < whole_.end) add({position_, whole_.end}, invert_);
  }

 private:
  void add(TextSpan span, bool is_delimiter) {
    const bool has_last = pieces_.size() > first_piece_;
    bool joins_last = false;
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        if (is_delimiter) return;
        break;
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kMergedWithPrevious:
        joins_last = is_delimiter && !last_was_delimiter_;
        break;
      case SplitBehavior::kMergedWithNext:
        joins_last = !is_delimiter && last_was_delimiter_;
        break;
      case SplitBehavior::kContiguous:
        joins_last = is_delimiter == last_was_delimiter_;
        break;
    }
    last_was_delimiter_ = is_delimiter;
    if (joins_last && has_last) {
      pieces_.back().end = span.end;
    } else if (span.begin < span.end) {
      pieces_.push_back(span);
    }
  }

  TextSpan whole_;
  SplitBehavior behavior_;
  bool invert_;
  std::vector<TextSpan>& pieces_;
  std::size_t first_piece_;
  std::size_t position_;
  bool last_was_delimiter_ = false;
};

}  // namespace tutti::text
