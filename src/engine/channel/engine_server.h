// The engine's end of the channel, without the socket: frames come in and become calls of an
// EngineChannel, events become frames. What a step brings about leaves in one piece.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/channel/frames.h"
#include "engine/channel/step_record.h"
#include "engine/engine.h"

namespace tutti::engine {

// Thread safety: the observer's members are called on the engine's thread, the others on one
// reader's; `write` is called on either, by one at a time.
class EngineServer final : public StepObserver {
 public:
  using Write = std::function<void(std::string_view bytes)>;
  // `record` may be null; it must outlive the server.
  EngineServer(Write write, StepRecord* record);

  // While the engine is being made.
  void send_progress(double fraction);
  void send_load_failure(const Status& status);
  // From now on sequences are accepted. `engine` must outlive the server's last receive().
  void start(EngineChannel& engine, const HelloFrame& hello);

  // Bytes of the front. Errors: kCorrupt for what is no frame of a front, kCancelled when the
  // front asks the engine to stop; the process is to end in either case.
  Status receive(std::string_view bytes);

  void step_begins(std::span<const schedule::PlannedRows> rows) override;
  void step_ends() override;
  void published() override;

 private:
  class Receiver;

  Status handle(Frame frame);
  void submit(SequenceRequest request);
  void on_event(SequenceId id, Event event);
  void append(const Frame& frame);
  void flush();

  const Write write_;
  StepRecord* const record_;
  EngineChannel* engine_ = nullptr;
  FrameReader reader_;
  std::mutex write_mutex_;  // taken before mutex_
  std::mutex mutex_;
  std::string pending_;          // guarded by mutex_
  bool stats_are_sent_ = false;  // with what is pending; guarded by mutex_
};

}  // namespace tutti::engine
