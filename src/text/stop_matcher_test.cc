#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace tutti::text {
namespace {

struct Streamed {
  std::string text;
  std::optional<std::string> stopped_by;
  bool operator==(const Streamed&) const = default;
};

// The definition, over the whole text: the first begin, the shortest of those.
Streamed search_whole_text(const std::string& text, const std::vector<std::string>& stops,
                           bool include_stop) {
  Streamed best{text, std::nullopt};
  std::size_t best_begin = std::string::npos;
  for (const std::string& stop : stops) {
    const std::size_t begin = stop.empty() ? std::string::npos : text.find(stop);
    if (begin == std::string::npos) continue;
    if (begin < best_begin || (begin == best_begin && stop.size() < best.stopped_by->size())) {
      best_begin = begin;
      best = {text.substr(0, begin + (include_stop ? stop.size() : 0)), stop};
    }
  }
  return best;
}

Streamed stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stops,
                bool include_stop) {
  StopMatcher matcher(stops, include_stop);
  Streamed result;
  for (const std::string& piece : pieces) result.text += matcher.push(piece).text;
  result.text += matcher.finish();
  result.stopped_by = matcher.stopped_by();
  return result;
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBeginAStopString) {
  StopMatcher matcher({"<end>"}, false);
  EXPECT_EQ(matcher.push("one <e").text, "one ");
  EXPECT_EQ(matcher.push("n").text, "");
  EXPECT_EQ(matcher.push("t").text, "<ent");
  const StopMatcher::Output last = matcher.push(" two <end> three");
  EXPECT_EQ(last.text, " two ");
  EXPECT_EQ(last.stopped_by, "<end>");
  EXPECT_EQ(matcher.push("four").text, "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcherTest, AMatchThatBeganEarlierWins) {
  EXPECT_EQ(stream({"xa", "b", "c"}, {"b", "abc"}, false), (Streamed{"x", "abc"}));
  EXPECT_EQ(stream({"xa", "b"}, {"b", "abc"}, false), (Streamed{"xa", "b"}));
  EXPECT_EQ(stream({"xa", "bd"}, {"b", "abc"}, true), (Streamed{"xab", "b"}));
}

TEST(StopMatcherTest, AnyCutGivesTheResultOfTheWholeText) {
  std::mt19937 random(7);
  const auto random_text = [&](std::size_t max_length) {
    std::string text(random() % (max_length + 1), ' ');
    for (char& c : text) c = "abc"[random() % (random() % 2 ? 2 : 3)];
    return text;
  };
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = random_text(6);
    const std::string text = random_text(30);
    std::vector<std::string> pieces;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t length = 1 + random() % 5;
      pieces.push_back(text.substr(begin, length));
      begin += length;
    }
    const bool include_stop = random() % 2 == 0;
    ASSERT_EQ(stream(pieces, stops, include_stop), search_whole_text(text, stops, include_stop))
        << "text " << text << " trial " << trial;
  }
}

}  // namespace
}  // namespace tutti::text
