#include "engine/channel/front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/support/event_recorder.h"

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using testing::EventRecorder;
using ::testing::HasSubstr;

constexpr int kVocabSize = 100;

// A front by hand: the test plays the process.
class FrontTest : public ::testing::Test, private FrontListener {
 protected:
  void state_changed(const FrontState& state) override { state_ = state; }
  void sequence_ends(SequenceId id) override { ended_.push_back(id.value); }

  // Time passes in the steps of a front that is called often; the process's heart beats.
  void pass(Duration duration, bool beats = true) {
    const TimePoint until = now_ + duration;
    while (now_ < until) {
      now_ += milliseconds(100);
      if (beats) ++page_.num_beats;
      front_.on_time(page_, now_);
    }
  }

  // The next command that comes while time passes.
  std::optional<ProcessCommand> command_within(Duration limit) {
    for (Duration passed{}; passed < limit; passed += milliseconds(100)) {
      pass(milliseconds(100));
      if (const auto command = front_.take_command()) return command;
    }
    return std::nullopt;
  }

  // The process that was asked for is there and says hello.
  void start() {
    front_.on_time(page_, now_);
    ASSERT_EQ(front_.take_command(), ProcessCommand::kStart);
    page_ = {.num_beats = 1};
    say(HelloFrame{.limits = {.max_model_len = 1000, .vocab_size = kVocabSize}, .details = {}});
  }

  void say(const Frame& frame) {
    std::string bytes;
    append_frame(frame, bytes);
    front_.on_bytes(bytes, now_);
  }
  void token(int id, TokenId token, int index) {
    say(TokenFrame{SequenceId(id), {.token = token, .index = index}});
  }

  std::shared_ptr<EventRecorder> submit(int id) {
    SequenceRequest request;
    request.id = SequenceId(id);
    request.prompt = {1, 2, 3};
    request.sampling.max_tokens = 10;
    auto recorder = std::make_shared<EventRecorder>();
    front_.submit(std::move(request), EventSink(recorder), now_);
    return recorder;
  }

  // Ids of the sequences that were submitted to the process, with how many tokens they had.
  std::vector<std::pair<int, int>> submitted() {
    std::vector<std::pair<int, int>> found;
    for (const Frame& frame : heard()) {
      if (const auto* submitted = std::get_if<SubmitFrame>(&frame)) {
        found.emplace_back(submitted->request.id.value, submitted->request.generated.size());
      }
    }
    return found;
  }
  std::vector<Frame> heard() {
    FrameReader reader;
    reader.push(front_.take_output());
    std::vector<Frame> frames;
    while (auto frame = *reader.next()) frames.push_back(*std::move(frame));
    return frames;
  }

  void in_step(std::vector<int> ids) {
    page_.in_step = true;
    page_.num_rows = static_cast<std::int64_t>(ids.size());
    page_.sequences.clear();
    for (const int id : ids) page_.sequences.emplace_back(id);
  }
  void die(int signal) {
    front_.on_exit({.by_signal = true, .code = signal}, page_, now_);
    page_ = {};
  }
  void die_and_restart(int signal) {
    die(signal);
    start();
  }

  TimePoint now_{seconds(1000)};
  StepSnapshot page_;
  FrontState state_;
  std::vector<std::uint64_t> ended_;
  EngineFront front_{FrontOptions{}, *this, now_};
};

TEST_F(FrontTest, ResumesFromTheTokensThatWereSent) {
  start();
  const auto a = submit(1), b = submit(2);
  EXPECT_EQ(submitted().size(), 2u);
  token(1, 10, 0);
  token(1, 11, 1);
  die(SIGKILL);
  EXPECT_EQ(state_.availability.kind(), ErrorKind::kUnavailable);
  start();
  EXPECT_TRUE(state_.availability.ok());
  EXPECT_THAT(submitted(), ElementsAre(std::pair(1, 2), std::pair(2, 0)));
  token(1, 12, 2);
  say(FinishedFrame{SequenceId(1), {.usage = {3, 3, 0}}});
  EXPECT_THAT(a->token_ids(), ElementsAre(10, 11, 12));
  EXPECT_EQ(a->num_ends(), 1);
  EXPECT_FALSE(a->has_gap());
  EXPECT_EQ(b->num_ends(), 0);
  EXPECT_EQ(state_.stats.num_restarts, 1u);
  EXPECT_EQ(state_.num_open, 1);
  EXPECT_THAT(ended_, ElementsAre(1));
}

TEST_F(FrontTest, AFrameThatDeathCutInTwoDoesNotCount) {
  start();
  const auto a = submit(1);
  std::string bytes;
  append_frame(TokenFrame{SequenceId(1), {.token = 10}}, bytes);
  front_.on_bytes(bytes.substr(0, bytes.size() - 1), now_);
  die_and_restart(SIGKILL);
  token(1, 10, 0);
  EXPECT_THAT(a->token_ids(), ElementsAre(10));
  EXPECT_FALSE(a->has_gap());
}

TEST_F(FrontTest, ATokenThatIsNotTheNextKillsTheProcess) {
  for (const int index : {0, 2}) {
    start();
    const auto a = submit(1 + index);
    token(1 + index, 10, 0);
    token(1 + index, 11, index);
    EXPECT_EQ(front_.take_command(), ProcessCommand::kKill);
    EXPECT_THAT(a->token_ids(), ElementsAre(10));
    die(SIGKILL);
  }
}

TEST_F(FrontTest, CancelsWhileThereIsNoProcess) {
  start();
  const auto a = submit(1), b = submit(2);
  front_.cancel(SequenceId(2), now_);
  die(SIGKILL);  // before it answered
  EXPECT_EQ(b->failed()->status.kind(), ErrorKind::kCancelled);
  front_.cancel(SequenceId(1), now_);
  EXPECT_EQ(a->failed()->status.kind(), ErrorKind::kCancelled);
  const auto c = submit(3);
  front_.cancel(SequenceId(3), now_);
  EXPECT_EQ(c->num_ends(), 1);
  start();
  EXPECT_TRUE(submitted().empty());
}

TEST_F(FrontTest, ADeadlinePassesWhileThereIsNoProcess) {
  start();
  die(SIGKILL);
  SequenceRequest request;
  request.id = SequenceId(1);
  request.prompt = {1};
  request.deadline = now_ + milliseconds(50);
  const auto recorder = std::make_shared<EventRecorder>();
  front_.submit(std::move(request), EventSink(recorder), now_);
  now_ += milliseconds(60);
  front_.on_time(page_, now_);
  ASSERT_EQ(recorder->num_ends(), 1);
  EXPECT_EQ(recorder->failed()->status.kind(), ErrorKind::kDeadlineExceeded);
}

TEST_F(FrontTest, NoticesAFrozenProcess) {
  start();
  pass(seconds(60));
  EXPECT_FALSE(front_.take_command());
  pass(seconds(4), false);
  EXPECT_FALSE(front_.take_command());
  pass(seconds(1), false);
  EXPECT_EQ(front_.take_command(), ProcessCommand::kKill);
  EXPECT_FALSE(state_.availability.ok());
}

// Whatever the model: the first step is watched like all others, and a long one too.
TEST_F(FrontTest, NoticesAStepThatDoesNotGetOn) {
  for (const bool is_first : {true, false}) {
    start();
    submit(is_first ? 1 : 2);
    page_.num_steps = is_first ? 0 : 100;
    in_step({is_first ? 1 : 2});
    EXPECT_FALSE(command_within(seconds(4)));
    EXPECT_EQ(command_within(milliseconds(600)), ProcessCommand::kInterrupt);
    EXPECT_EQ(command_within(milliseconds(700)), ProcessCommand::kKill);
    die(SIGKILL);
  }
}

TEST_F(FrontTest, GivesALongStepItsTimeAsLongAsItGetsOn) {
  start();
  submit(1);
  in_step({1});
  const std::uint64_t before = state_.progress;
  for (int second = 0; second < 20; ++second) {
    ++page_.progress;
    EXPECT_FALSE(command_within(seconds(1)));
  }
  EXPECT_GE(state_.progress, before + 20);
  const std::uint64_t last = state_.progress;
  EXPECT_EQ(command_within(seconds(5)), ProcessCommand::kInterrupt);
  EXPECT_EQ(state_.progress, last) << "whose heart beats and does nothing makes no progress";
}

TEST_F(FrontTest, AnIdleProcessNeedsNoSteps) {
  start();
  submit(1);
  say(FinishedFrame{SequenceId(1), {}});
  pass(seconds(300));
  EXPECT_FALSE(front_.take_command());
}

TEST_F(FrontTest, AFrontThatStoodStillBlamesNobody) {
  start();
  submit(1);
  now_ += seconds(600);
  front_.on_time(page_, now_);
  EXPECT_FALSE(front_.take_command());
}

TEST_F(FrontTest, OneThatKillsTwiceIsEndedAndTheOthersGoOn) {
  start();
  const auto a = submit(1), b = submit(2), c = submit(3), waiting = submit(4);
  in_step({1, 2, 3});
  die_and_restart(SIGSEGV);
  // The suspects are run alone, one after the other.
  EXPECT_THAT(submitted(), ElementsAre(std::pair(1, 0)));
  token(1, 10, 0);
  EXPECT_THAT(heard(), ElementsAre(::testing::VariantWith<CancelFrame>(
                           ::testing::Field(&CancelFrame::id, SequenceId(1)))));
  token(1, 11, 1);  // one that was under way
  say(FailedFrame{SequenceId(1), {Status(ErrorKind::kCancelled, "cancelled"), {}}});
  EXPECT_THAT(submitted(), ElementsAre(std::pair(2, 0)));
  in_step({2});
  die_and_restart(SIGSEGV);
  EXPECT_EQ(b->failed()->status.kind(), ErrorKind::kInternal);
  EXPECT_THAT(b->failed()->status.message(), HasSubstr("2 times"));
  EXPECT_THAT(submitted(), ElementsAre(std::pair(3, 0)));
  token(3, 12, 0);
  EXPECT_THAT(submitted(), ElementsAre(std::pair(1, 2), std::pair(4, 0)));
  EXPECT_EQ(a->num_ends() + c->num_ends() + waiting->num_ends(), 0);
  EXPECT_THAT(a->token_ids(), ElementsAre(10, 11));
}

TEST_F(FrontTest, DeathsFromOutsideAccuseNobody) {
  start();
  const auto a = submit(1), b = submit(2);
  for (int i = 0; i < 20; ++i) {
    token(1, 10, i);
    token(2, 10, i);
    in_step({1, 2});
    heard();
    die_and_restart(SIGKILL);
    EXPECT_EQ(submitted().size(), 2u);
  }
  EXPECT_EQ(a->num_ends() + b->num_ends(), 0);
}

// The system's memory killer leaves the same trace as a stranger's SIGKILL.
TEST_F(FrontTest, OneThatNeverGetsAnywhereIsSuspectedInTheEnd) {
  start();
  const auto a = submit(1), b = submit(2);
  for (int i = 0; i < 3; ++i) {
    heard();
    token(1, 10, i);
    in_step({1, 2});
    die_and_restart(SIGKILL);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(b->num_ends(), 0);
    EXPECT_THAT(submitted(), ElementsAre(std::pair(2, 0)));
    in_step({2});
    die(SIGKILL);
    now_ += seconds(1);  // the back-off
    start();
  }
  ASSERT_EQ(b->num_ends(), 1);
  EXPECT_EQ(b->failed()->status.kind(), ErrorKind::kInternal);
  EXPECT_EQ(a->num_ends(), 0);
}

TEST_F(FrontTest, BacksOffAndRefusesWhenNothingIsAchieved) {
  start();
  const auto a = submit(1);
  die_and_restart(SIGSEGV);  // the first restart is immediate
  Duration last{};
  for (int i = 0; i < 4; ++i) {
    die(SIGSEGV);
    EXPECT_FALSE(front_.take_command());
    EXPECT_GT(front_.next_time(now_) - now_, last);
    last = front_.next_time(now_) - now_;
    EXPECT_GE(state_.stats.unavailable_for, last);
    EXPECT_EQ(state_.accepts.ok(), i < 1);
    now_ += last;
    if (i < 3) start();
  }
  EXPECT_EQ(a->num_ends(), 0);
  start();
  die(SIGSEGV);
  EXPECT_EQ(a->failed()->status.kind(), ErrorKind::kUnavailable);
}

TEST_F(FrontTest, KeepsTheReasonWhyAModelCannotBeLoaded) {
  front_.on_time(page_, now_);
  ASSERT_EQ(front_.take_command(), ProcessCommand::kStart);
  say(ProgressFrame{0.5});
  EXPECT_EQ(front_.load_progress(), 0.5);
  say(LoadFailedFrame{invalid_argument("kv_cache_size", "does not fit")});
  front_.on_exit({.by_signal = false, .code = 1}, {}, now_);
  EXPECT_EQ(front_.load_error().message(), "does not fit");
  pass(seconds(100));
  EXPECT_FALSE(front_.take_command());
}

TEST_F(FrontTest, SaysHowAProcessEndedThatDiedLoading) {
  front_.on_time(page_, now_);
  die(SIGKILL);
  EXPECT_THAT(front_.load_error().message(), HasSubstr("signal 9"));
}

TEST_F(FrontTest, StoppingEndsAllSequences) {
  start();
  const auto a = submit(1);
  heard();
  front_.stop(now_);
  EXPECT_EQ(a->failed()->status.kind(), ErrorKind::kCancelled);
  EXPECT_THAT(heard(), ElementsAre(::testing::VariantWith<StopFrame>(::testing::_)));
  die(SIGTERM);
  pass(seconds(1));
  EXPECT_FALSE(front_.take_command());
  EXPECT_EQ(submit(2)->num_ends(), 1);
}

TEST_F(FrontTest, CountersGoOnOverDeaths) {
  start();
  EngineStats stats;
  stats.num_steps = 7;
  stats.num_running = 2;
  stats.num_used_blocks = 9;
  say(StatsFrame{stats});
  EXPECT_EQ(state_.stats.num_running, 2);
  die(SIGKILL);
  EXPECT_EQ(state_.stats.num_running + state_.stats.num_used_blocks, 0);
  start();
  say(StatsFrame{stats});
  EXPECT_EQ(state_.stats.num_steps, 14u);
}

}  // namespace
}  // namespace tutti::engine
