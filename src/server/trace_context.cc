#include "server/trace_context.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/random.h"

namespace tutti::server {
namespace {

// version "-" trace id "-" span id "-" flags
constexpr std::size_t kVersionSize = 2, kTraceIdSize = 32, kSpanIdSize = 16, kFlagsSize = 2;
constexpr std::size_t kFieldSize = kVersionSize + kTraceIdSize + kSpanIdSize + kFlagsSize + 3;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view digits) {
  return digits.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view field) {
  if (field.size() < kFieldSize) return std::nullopt;
  const std::string_view version = field.substr(0, kVersionSize);
  const std::string_view trace_id = field.substr(kVersionSize + 1, kTraceIdSize);
  const std::string_view span_id = field.substr(kVersionSize + kTraceIdSize + 2, kSpanIdSize);
  const std::string_view flags = field.substr(kFieldSize - kFlagsSize, kFlagsSize);
  for (const std::size_t dash :
       {kVersionSize, kVersionSize + kTraceIdSize + 1, kFieldSize - kFlagsSize - 1}) {
    if (field[dash] != '-') return std::nullopt;
  }
  for (const std::string_view part : {version, trace_id, span_id, flags}) {
    if (!is_hex(part)) return std::nullopt;
  }
  const bool has_more = field.size() > kFieldSize;
  if (version == "ff" || (version == "00" && has_more)) return std::nullopt;
  if (has_more && field[kFieldSize] != '-') return std::nullopt;
  if (is_zero(trace_id) || is_zero(span_id)) return std::nullopt;
  return TraceContext{std::string(trace_id), std::string(span_id),
                      static_cast<std::uint8_t>(std::stoi(std::string(flags), nullptr, 16))};
}

TraceContext in_new_span(const TraceContext& parent) {
  std::uint64_t span = 0;
  while (span == 0) span = random_bits();
  return {parent.trace_id, fmt::format("{:016x}", span), parent.flags};
}

std::string format_traceparent(const TraceContext& context) {
  // Of the flags of version 00 only "sampled" is known; others must be sent as zero.
  constexpr unsigned kSampled = 1;
  return fmt::format("00-{}-{}-{:02x}", context.trace_id, context.span_id,
                     context.flags & kSampled);
}

}  // namespace tutti::server
