// The main program of an engine process: makes an engine and serves the front that started it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/channel/frames.h"
#include "engine/engine.h"

namespace tutti::engine {

// An engine and all it stands on.
class ServedEngine {
 public:
  virtual ~ServedEngine() = default;
  virtual EngineChannel& channel() = 0;
  virtual HelloFrame hello() const = 0;
};

// Makes the engine; `observer` is to be handed to start_engine, `progress` takes [0, 1].
using MakeEngine = std::function<Result<std::unique_ptr<ServedEngine>>(
    StepObserver& observer, const std::function<void(double)>& progress)>;

struct ServeChannelOptions {
  pid_t front = 0;                     // the process that started this one
  std::filesystem::path crash_report;  // empty: none
};

// Speaks on the descriptors of child_process.h until the front stops it or is gone, in which case
// the process ends within a moment, whatever its threads do: by the socket's end and by the
// system's signal. Signals that a terminal or a service manager sends to all processes are ignored.
// Returns the process's exit status.
int serve_channel(const ServeChannelOptions& options, const MakeEngine& make);

}  // namespace tutti::engine
