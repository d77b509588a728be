#include "server/request_log.h"

#include <boost/json/object.hpp>
#include <cmath>

#include "base/log.h"
#include "dialects/utf8.h"

namespace tutti::server {
namespace {

constexpr std::size_t kMaxContentBytes = 64 << 10;

// To the microsecond, which is what a reader of a log can use.
double seconds(Duration duration) { return std::round(to_seconds(duration) * 1e6) / 1e6; }

std::string shortened(const std::string& text) {
  if (text.size() <= kMaxContentBytes) return dialects::well_formed_utf8(text);
  return dialects::well_formed_utf8(text.substr(0, kMaxContentBytes)) + "…";
}

}  // namespace

void log_request(const RequestContext& context, const RequestRecord& record, Duration total) {
  boost::json::object fields{{"id", context.id}};
  if (context.trace) fields["trace_id"] = context.trace->trace_id;
  if (context.trace) fields["span_id"] = context.trace->span_id;
  fields["tenant"] = context.tenant.label;
  fields["path"] = record.path;
  fields["model"] = record.model;
  fields["status"] = record.status;
  fields["end"] = record.end;
  fields["prompt_tokens"] = record.usage.prompt_tokens;
  fields["cached_tokens"] = record.usage.cached_tokens;
  fields["completion_tokens"] = record.usage.completion_tokens;
  fields["queue_time"] = seconds(record.timings.queued);
  fields["prefill_time"] = seconds(record.timings.prefill);
  fields["decode_time"] = seconds(record.timings.decode);
  fields["total_time"] = seconds(total);
  if (!record.error.empty()) fields["error"] = shortened(record.error);
  if (!record.prompt.empty()) fields["prompt"] = shortened(record.prompt);
  if (!record.completion.empty()) fields["completion"] = shortened(record.completion);
  log::event("request", fields);
}

}  // namespace tutti::server
