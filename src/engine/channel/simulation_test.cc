// Front, channel and a fake engine on one simulated clock, with faults at random: the process is
// lost at any byte of any frame, while it loads, computes or is idle; it freezes, loops, or sends
// garbage; pipes are slow; requests are cancelled; some requests kill the engine whenever they are
// computed. In every run each accepted request ends exactly once, with the tokens it gets alone.
#include <gtest/gtest.h>

#include <csignal>
#include <random>
#include <set>

#include "engine/channel/engine_server.h"
#include "engine/channel/front.h"
#include "tests/support/event_recorder.h"

namespace tutti::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EventRecorder;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kNumRuns = 2000;
#else
constexpr int kNumRuns = 20000;
#endif

constexpr int kVocabSize = 50;
constexpr int kMaxModelLen = 40;
constexpr TokenId kPoison = 49;  // a prompt that begins with it kills the engine

// The token after `tokens`: any function of all of them.
TokenId token_after(std::span<const TokenId> tokens) {
  std::uint32_t hash = 2166136261u;
  for (const TokenId token : tokens) hash = (hash ^ static_cast<std::uint32_t>(token)) * 16777619u;
  return static_cast<TokenId>((hash >> 8) % (kVocabSize - 1));
}

std::vector<TokenId> run_alone(const SequenceRequest& request) {
  std::vector<TokenId> tokens = request.prompt, generated;
  while (static_cast<int>(generated.size()) < request.sampling.max_tokens &&
         static_cast<int>(tokens.size()) < kMaxModelLen) {
    const TokenId token = token_after(tokens);
    if (token == request.end_tokens.at(0)) break;
    tokens.push_back(token);
    generated.push_back(token);
  }
  return generated;
}

struct RandomSource {
  explicit RandomSource(std::uint64_t seed) : engine(seed) {}
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(engine); }
  bool one_in(int n) { return pick(1, n) == 1; }
  std::mt19937_64 engine;
};

// An engine whose step is a call. `max_batch` of its sequences are in it.
class FakeEngine final : public EngineChannel {
 public:
  FakeEngine(RandomSource& random, int max_batch) : random_(random), max_batch_(max_batch) {}

  Status submit(SequenceRequest request, EventSink& sink) override {
    TUTTI_RETURN_IF_ERROR(check_submission(request, {kMaxModelLen, kVocabSize}, TimePoint{}));
    Sequence sequence{std::move(request), std::move(sink), {}};
    sequence.tokens = sequence.request.prompt;
    const auto& before = sequence.request.generated;
    sequence.tokens.insert(sequence.tokens.end(), before.begin(), before.end());
    sequences_.push_back(std::move(sequence));
    return {};
  }
  void cancel(SequenceId id) override { cancelled_.insert(id.value); }
  EngineStats stats() const override {
    EngineStats stats;
    stats.num_running = static_cast<int>(sequences_.size());
    return stats;
  }
  std::uint64_t progress() const override { return 0; }
  int max_model_len() const override { return kMaxModelLen; }

  bool has_work() const { return !sequences_.empty(); }

  // Lets its sinks go, which tell their receivers, while the engine still stands.
  void abandon() { const std::vector<Sequence> abandoned = std::exchange(sequences_, {}); }

  // False when a sequence of the step kills the process, after the step began.
  bool step(StepObserver& observer) {
    end_cancelled();
    std::shuffle(sequences_.begin(), sequences_.end(), random_.engine);
    const std::size_t size = std::min<std::size_t>(sequences_.size(), max_batch_);
    std::vector<schedule::PlannedRows> rows;
    bool is_deadly = false;
    for (std::size_t i = 0; i < size; ++i) {
      rows.push_back({.id = sequences_[i].request.id, .num_rows = 1});
      is_deadly |= sequences_[i].request.prompt[0] == kPoison;
    }
    observer.step_begins(rows);
    if (is_deadly) return false;
    for (std::size_t i = 0; i < size; ++i) advance(sequences_[i]);
    observer.step_ends();
    std::erase_if(sequences_, [](const Sequence& sequence) { return sequence.sink.ended(); });
    observer.published();
    return true;
  }

 private:
  struct Sequence {
    SequenceRequest request;
    EventSink sink;
    std::vector<TokenId> tokens;

    bool has_all() const {
      return tokens.size() >= request.prompt.size() + request.sampling.max_tokens ||
             tokens.size() >= kMaxModelLen;
    }
  };

  static void advance(Sequence& sequence) {
    if (!sequence.has_all()) {
      const TokenId token = token_after(sequence.tokens);
      if (token == sequence.request.end_tokens.at(0)) {
        return sequence.sink.finish({.reason = FinishReason::kStop, .stop_token = token});
      }
      const auto index = sequence.tokens.size() - sequence.request.prompt.size();
      sequence.sink.send({.token = token, .index = static_cast<int>(index)});
      sequence.tokens.push_back(token);
    }
    if (sequence.has_all()) sequence.sink.finish({.reason = FinishReason::kLength});
  }

  void end_cancelled() {
    for (Sequence& sequence : sequences_) {
      if (!cancelled_.contains(sequence.request.id.value)) continue;
      sequence.sink.fail({Status(ErrorKind::kCancelled, "cancelled"), {}});
    }
    cancelled_.clear();
    std::erase_if(sequences_, [](const Sequence& sequence) { return sequence.sink.ended(); });
  }

  RandomSource& random_;
  const std::size_t max_batch_;
  std::vector<Sequence> sequences_;
  std::set<std::uint64_t> cancelled_;
};

// One life of the engine's process. A process that is dead does nothing, but what it wrote stays.
struct Process {
  Process(RandomSource& random, TimePoint now)
      : server([this](std::string_view bytes) { to_front.append(bytes); }, &record),
        engine(random, random.pick(1, 4)),
        ready_at(now + milliseconds(random.pick(0, 300))) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { engine.abandon(); }

  void run(RandomSource& random, TimePoint now, bool may_stick) {
    if (!is_alive || is_frozen) return;
    record.beat(0);
    if (!is_ready && now >= ready_at) {
      is_ready = true;
      server.start(engine, {.limits = {kMaxModelLen, kVocabSize}, .details = {}});
    }
    if (!is_ready || is_stuck) return;
    const std::size_t size = random.pick(0, static_cast<int>(to_engine.size()));
    const Status received = server.receive(std::string_view(to_engine).substr(0, size));
    to_engine.erase(0, size);
    if (!received.ok()) return die({.by_signal = false, .code = 0});
    if (!engine.has_work()) return;
    if (may_stick && random.one_in(100)) {
      is_stuck = true;
      const schedule::PlannedRows rows{.id = SequenceId(999), .num_rows = 1};
      record.begin_step({&rows, 1});
    } else if (!engine.step(server)) {
      die({.by_signal = true, .code = SIGSEGV});
    }
  }

  void die(ProcessEnd how) {
    if (!is_alive) return;
    is_alive = false;
    end = how;
  }

  StepRecord record{};
  std::string to_front, to_engine;
  EngineServer server;
  FakeEngine engine;
  const TimePoint ready_at;
  bool is_alive = true, is_ready = false, is_frozen = false, is_stuck = false;
  ProcessEnd end;
};

class World final : private FrontListener {
 public:
  explicit World(std::uint64_t seed) : random_(seed), front_({}, *this, now_) {
    has_poison_ = random_.one_in(4);
    num_faults_left_ = random_.pick(0, 3);
  }

  void run() {
    start_first();
    const int num_requests = random_.pick(1, 8);
    for (int i = 0; i < 120; ++i) {
      if (static_cast<int>(clients_.size()) < num_requests && random_.one_in(4)) submit();
      if (!clients_.empty() && random_.one_in(30)) cancel();
      if (num_faults_left_ > 0 && random_.one_in(25)) fault();
      turn(milliseconds(random_.one_in(20) ? 900 : random_.pick(0, 30)));
      if (::testing::Test::HasFatalFailure()) return;
    }
    num_faults_left_ = 0;
    if (random_.one_in(10)) {
      is_stopped_ = true;
      front_.stop(now_);
    }
    for (int i = 0; num_open() > 0; ++i) {
      ASSERT_LT(i, 5000) << "the requests do not end";
      turn(milliseconds(50));
      if (::testing::Test::HasFatalFailure()) return;
    }
    for (const Client& client : clients_) check(client);
  }

 private:
  struct Client {
    SequenceRequest request;
    std::shared_ptr<EventRecorder> recorder;
    bool may_be_cancelled = false;

    bool is_poison() const { return request.prompt[0] == kPoison; }
  };

  void state_changed(const FrontState& state) override {
    ASSERT_EQ(state.num_open >= 0 && state.stats.num_waiting >= 0, true);
  }
  void sequence_ends(SequenceId id) override {
    ASSERT_TRUE(ended_.insert(id.value).second) << "a second end";
  }

  int num_open() const {
    int num_open = 0;
    for (const Client& client : clients_) num_open += client.recorder->num_ends() == 0;
    return num_open;
  }

  // The first process must come up: a front without one has nobody to serve.
  void start_first() {
    while (!front_.hello()) turn(milliseconds(50));
  }

  void submit() {
    Client client;
    SequenceRequest& request = client.request;
    request.id = SequenceId(clients_.size() + 1);
    request.prompt.resize(random_.pick(1, kMaxModelLen - 1));
    for (TokenId& token : request.prompt) token = random_.pick(0, kVocabSize - 2);
    if (has_poison_ && random_.one_in(3)) request.prompt[0] = kPoison;
    request.sampling.max_tokens = random_.pick(1, 30);
    request.end_tokens = {random_.pick(0, kVocabSize - 2)};
    client.recorder = std::make_shared<EventRecorder>();
    front_.submit(request, EventSink(client.recorder), now_);
    clients_.push_back(std::move(client));
  }

  void cancel() {
    Client& client = clients_[random_.pick(0, static_cast<int>(clients_.size()) - 1)];
    client.may_be_cancelled = true;
    front_.cancel(client.request.id, now_);
  }

  void fault() {
    if (!process_) return;
    --num_faults_left_;
    switch (random_.pick(0, 3)) {
      case 0:
      case 1:
        process_->die({.by_signal = true, .code = SIGKILL});
        // What was still under way is cut at any byte.
        process_->to_front.resize(random_.pick(0, static_cast<int>(process_->to_front.size())));
        break;
      case 2:
        process_->is_frozen = true;
        break;
      default:
        if (std::exchange(has_sent_garbage_, true)) return;
        for (int i = random_.pick(1, 40); i > 0; --i) {
          process_->to_front.push_back(static_cast<char>(random_.pick(0, 255)));
        }
    }
  }

  void turn(Duration duration) {
    now_ += duration;
    const bool may_stick = num_faults_left_ > 0 && !has_stuck_;
    if (process_) {
      process_->run(random_, now_, may_stick);
      has_stuck_ |= process_->is_stuck;
      carry_bytes();
    }
    front_.on_time(process_ ? process_->record.read() : StepSnapshot(), now_);
    obey();
    front_.take_death();
  }

  void carry_bytes() {
    process_->to_engine += front_.take_output();
    std::string& bytes = process_->to_front;
    const int size = process_->is_alive ? random_.pick(0, static_cast<int>(bytes.size()))
                                        : static_cast<int>(bytes.size());
    front_.on_bytes(std::string_view(bytes).substr(0, size), now_);
    bytes.erase(0, size);
    if (process_->is_alive) return;
    front_.on_exit(process_->end, process_->record.read(), now_);
    process_.reset();
  }

  void obey() {
    const auto command = front_.take_command();
    if (!command) return;
    if (*command == ProcessCommand::kStart) {
      ASSERT_EQ(process_, nullptr) << "a second process";
      process_ = std::make_unique<Process>(random_, now_);
    } else if (process_ && *command == ProcessCommand::kKill) {
      process_->die({.by_signal = true, .code = SIGKILL});
    } else if (process_ && random_.one_in(2)) {
      process_->die({.by_signal = true, .code = SIGABRT});
    }
  }

  void check(const Client& client) {
    const std::uint64_t id = client.request.id.value;
    const EventRecorder& recorder = *client.recorder;
    ASSERT_EQ(recorder.num_ends(), 1) << "sequence " << id;
    ASSERT_FALSE(recorder.has_gap()) << "sequence " << id;
    ASSERT_TRUE(ended_.contains(id));
    const std::vector<TokenId> expected = run_alone(client.request);
    const std::vector<TokenId> tokens = recorder.token_ids();
    ASSERT_LE(tokens.size(), expected.size());
    ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), expected.begin())) << "sequence " << id;
    if (recorder.finished()) {
      ASSERT_FALSE(client.is_poison());
      ASSERT_EQ(tokens.size(), expected.size()) << "sequence " << id;
      return;
    }
    const Status status = recorder.failed()->status;
    const bool is_expected =
        (status.kind() == ErrorKind::kCancelled && (client.may_be_cancelled || is_stopped_)) ||
        (status.kind() == ErrorKind::kInternal && client.is_poison());
    ASSERT_TRUE(is_expected) << "sequence " << id << ": " << status.message();
  }

  RandomSource random_;
  TimePoint now_{seconds(1)};
  bool has_poison_ = false, has_sent_garbage_ = false, has_stuck_ = false, is_stopped_ = false;
  int num_faults_left_ = 0;
  std::unique_ptr<Process> process_;
  std::vector<Client> clients_;
  std::set<std::uint64_t> ended_;
  EngineFront front_;
};

TEST(Simulation, EveryRequestEndsOnceWithItsOwnTokens) {
  for (int seed = 1; seed <= kNumRuns; ++seed) {
    World(seed).run();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tutti::engine
