// What a process that dies of a signal of its own making writes down: the signal, what was being
// computed, and the stack of the thread that died.
#pragma once

#include <filesystem>

#include "engine/channel/step_record.h"

namespace tutti::engine {

// From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT write a report to `path` and then end the
// process as they would have without it. `record` must live as long as the process. Once only.
void report_crashes(const std::filesystem::path& path, const StepRecord& record);

// Gives the calling thread a stack of its own for the report, so that a stack that has overflown
// is reported too. Once for each thread.
void prepare_thread_for_crashes();

}  // namespace tutti::engine
