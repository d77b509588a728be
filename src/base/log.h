// The program's log: spdlog to standard error, one line an event.
//
// Usage: log::info("listening on {}:{}", host, port). Never log request content.
#pragma once

#include <spdlog/spdlog.h>

namespace tutti::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

// "trace" | "debug" | "info" | "warn" | "error" | "off". False for another word.
bool set_level(const std::string& level);

// Sends the log to standard error with a short pattern. Call once, first thing in main.
void initialise();

}  // namespace tutti::log
