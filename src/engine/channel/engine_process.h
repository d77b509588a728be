// An engine in a process of its own, and a thread here that watches over it: it is replaced when it
// dies or hangs, and open sequences go on as if nothing had happened (see front.h).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/channel/front.h"
#include "engine/engine.h"

namespace tutti::engine {

struct EngineProcessOptions {
  std::string name;  // of the model, for the log
  // The command line of a process that calls serve_channel(), argv[0] included.
  std::vector<std::string> arguments;
  // The command line from the second process on, from what the first one's hello said; null: the
  // same.
  std::function<std::vector<std::string>(const HelloFrame&)> restart_arguments;
  int max_running = 256;   // as EngineOptions'
  int max_waiting = 4096;  // likewise
  // Where reports of deaths are written; empty: nowhere. A process is told the path of its own by
  // --crash-report.
  std::filesystem::path crash_dir;
  FrontOptions front;
};

// Fraction done in [0, 1], called on the thread that waits for the engine.
using LoadProgress = std::function<void(double)>;

struct StartedProcess {
  std::unique_ptr<EngineChannel> channel;
  HelloFrame hello;
};

// Starts the process and waits until it is ready. Errors: the process's own, if it said why; else
// kInternal with how it ended.
Result<StartedProcess> start_engine_process(EngineProcessOptions options,
                                            const LoadProgress& progress = {});

}  // namespace tutti::engine
