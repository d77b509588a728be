// Durations as Go writes them ("5m", "1h30m", "-1s", "1.5h"), which is what Ollama's clients send.
#pragma once

#include <optional>
#include <string_view>

namespace tutti::dialects {

// Seconds; a plain number counts as seconds. nullopt when it is no duration.
// Syntax: time.ParseDuration of Go's standard library.
std::optional<double> parse_go_duration(std::string_view text);

}  // namespace tutti::dialects
