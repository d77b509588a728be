#include "engine/channel/frames.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/frame_equality.h"
#include "tests/support/solo_run.h"

namespace tutti::engine {
namespace {

using testing::bytes_of;

// One of each type, with every field set.
std::vector<Frame> all_frames() {
  testing::RandomRequests random(3, 192);
  SequenceRequest request = random.make(7);
  request.generated = {4, 5, 6};
  request.sampling.logit_bias = {{1, -2.5f}, {2, 100.0f}};
  request.sampling.stop_token_ids = {9};
  request.tenant = "a tenant";
  request.tenant_weight = 2.5;
  request.cache_salt = std::string("\0salt", 5);
  request.priority = -3;
  request.deadline = TimePoint(std::chrono::nanoseconds(123456789));
  FinishedEvent finished{.reason = FinishReason::kLength,
                         .stop_token = 11,
                         .usage = {1, 2, 3},
                         .timings = {std::chrono::seconds(1), std::chrono::seconds(2), {}}};
  EngineStats stats;
  stats.num_running = 3;
  stats.num_generation_tokens = 1ull << 40;
  stats.last_token_time = TimePoint(std::chrono::nanoseconds(5));
  stats.rows_of_steps.observe(17);
  return {SubmitFrame{request},
          CancelFrame{SequenceId(1ull << 60)},
          StopFrame{},
          ProgressFrame{0.25},
          HelloFrame{.limits = {.max_model_len = 4096, .vocab_size = 61}, .details = "{}"},
          LoadFailedFrame{invalid_argument("kv_cache_size", "does not fit")},
          TokenFrame{SequenceId(7), {3, 12, -1.5f, {{4, -2.0f}, {5, -3.0f}}}},
          FinishedFrame{SequenceId(7), finished},
          FailedFrame{SequenceId(8),
                      {Status(ErrorKind::kCancelled, "cancelled"), {4, 5, 6}, finished.timings}},
          StatsFrame{stats}};
}

Result<std::optional<Frame>> read(std::string_view bytes) {
  FrameReader reader;
  reader.push(bytes);
  return reader.next();
}

TEST(Frames, EachReadsBackAsItWas) {
  const std::vector<Frame> frames = all_frames();
  ASSERT_EQ(frames.size(), std::variant_size_v<Frame>) << "one of each type";
  for (std::size_t i = 0; i < frames.size(); ++i) {
    ASSERT_EQ(frames[i].index(), i);
    auto back = read(bytes_of(frames[i]));
    ASSERT_TRUE(back.ok() && back->has_value()) << "type " << i;
    EXPECT_EQ(bytes_of(**back), bytes_of(frames[i])) << "type " << i;
  }
  auto back = read(bytes_of(frames[0]));
  const SequenceRequest& request = std::get<SubmitFrame>(**back).request;
  EXPECT_EQ(request.id, SequenceId(7));
  EXPECT_EQ(request.generated, (std::vector<TokenId>{4, 5, 6}));
  EXPECT_EQ(request.cache_salt, std::string("\0salt", 5));
  EXPECT_EQ(request.deadline, TimePoint(std::chrono::nanoseconds(123456789)));
  EXPECT_EQ(request.sampling.logit_bias.at(1).second, 100.0f);
}

TEST(Frames, ComeOutWholeHoweverTheBytesAreCut) {
  std::string bytes;
  for (int round = 0; round < 200; ++round) {
    for (const Frame& frame : all_frames()) append_frame(frame, bytes);
  }
  std::mt19937 random(1);
  FrameReader reader;
  std::string again;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = std::min<std::size_t>(1 + random() % 300, bytes.size() - at);
    reader.push(std::string_view(bytes).substr(at, size));
    at += size;
    while (true) {
      auto frame = reader.next();
      ASSERT_TRUE(frame.ok()) << frame.status().message();
      if (!frame->has_value()) break;
      append_frame(**frame, again);
    }
  }
  EXPECT_EQ(again, bytes);
}

// A payload that is cut short inside its frame, and one with a byte too many, are no frames.
TEST(Frames, RefusesPayloadsOfAnotherLength) {
  for (const Frame& frame : all_frames()) {
    const std::string bytes = bytes_of(frame);
    for (std::size_t payload = 0; payload + kFrameHeaderBytes <= bytes.size() + 1; ++payload) {
      std::string other = bytes.substr(0, kFrameHeaderBytes + payload);
      other.resize(kFrameHeaderBytes + payload, '\0');
      const auto length = static_cast<std::uint32_t>(payload);
      std::memcpy(other.data(), &length, sizeof length);
      EXPECT_EQ(read(other).ok(), other == bytes) << "type " << frame.index() << ", " << payload;
    }
  }
}

TEST(Frames, SurviveAnyWrongByte) {
  for (const Frame& frame : all_frames()) {
    const std::string bytes = bytes_of(frame);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const int bits : {0x01, 0x80, 0xff}) {
        std::string other = bytes;
        other[at] = static_cast<char>(other[at] ^ bits);
        auto back = read(other);
        if (!back.ok() || !back->has_value()) continue;
        // What is read at all means something: it can be written again.
        EXPECT_FALSE(bytes_of(**back).empty());
      }
    }
  }
}

TEST(Frames, RefusesWhatNobodySends) {
  const std::string bytes = bytes_of(StopFrame{});
  std::string version = bytes, type = bytes, length = bytes;
  version[4] = 2;
  type[5] = 10;
  std::memset(length.data(), 0xff, 4);
  for (const std::string& other : {version, type, length}) {
    EXPECT_EQ(read(other).status().kind(), ErrorKind::kCorrupt);
  }
}

}  // namespace
}  // namespace tutti::engine
