// Distributed tracing: the traceparent field of W3C Trace Context
// (https://www.w3.org/TR/trace-context), which OpenTelemetry sends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tutti::server {

struct TraceContext {
  std::string trace_id;  // 32 lower-case hex digits, not all zero
  std::string span_id;   // 16, not all zero
  std::uint8_t flags = 0;
};

// nullopt for what the specification calls invalid, which is to be ignored: other lengths, upper
// case, zero ids, version ff. Of a version above 00 the four known parts are read.
std::optional<TraceContext> parse_traceparent(std::string_view field);

// The same trace, in a span of our own.
TraceContext in_new_span(const TraceContext& parent);

// "00-<trace id>-<span id>-<flags>"
std::string format_traceparent(const TraceContext& context);

}  // namespace tutti::server
