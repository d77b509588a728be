// The program's log: spdlog to standard error, one line an event, as text or as JSON.
//
// Usage: log::info("listening on {}:{}", host, port). Never log request content, but where
// --log-content asks for it.
//   text: 2026-11-24T08:12:31.123 info listening on 0.0.0.0:80
//         2026-11-24T08:12:31.123 info request id=a1 tenant=common status=200 …
//   json: {"time":"2026-11-24T08:12:31.123Z","level":"info","message":"listening on 0.0.0.0:80"}
//         {"time":"…","level":"info","message":"request","id":"a1","tenant":"common",…}
#pragma once

#include <spdlog/spdlog.h>

#include <boost/json/object.hpp>

namespace tutti::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

// "trace" | "debug" | "info" | "warn" | "error" | "off". False for another word.
bool set_level(const std::string& level);

// "text" | "json". False for another word.
bool set_format(const std::string& format);

// A line of named values, at the level "info". In text, values with spaces or quotes are written as
// JSON.
void event(const char* name, const boost::json::object& fields);

// Sends the log to standard error with a short pattern. Call once, first thing in main.
void initialise();

}  // namespace tutti::log
