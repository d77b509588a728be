// What a request's header fields say about it, whatever its body holds: its id, its trace, whom it
// is counted to, how long its client waits.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "server/http_types.h"
#include "server/tenants.h"
#include "server/trace_context.h"

namespace tutti::server {

struct RequestContext {
  std::string id;                     // the client's own x-request-id, or a new one
  bool has_own_id = false;            // the client sent it
  std::optional<TraceContext> trace;  // in our span; none without a valid traceparent
  Tenant tenant;
  Status tenant_status;       // why the request may not be counted to the tenant that it names
  std::string timeout_field;  // x-request-timeout, unchecked
  TimePoint received{};
};

RequestContext make_request_context(const HttpRequest& request, const TenantTable& tenants);
// For answers to what never became a request.
RequestContext make_request_context();

// 32 random hex digits.
std::string random_request_id();
// Whether an id may go into headers and the log: 1 to 128 letters, digits and "-_.:/+=@".
bool is_request_id(const std::string& text);

// The x-request-timeout field, in seconds; nullopt when it is empty. Errors: kInvalidArgument for
// anything but a number in (0, 86400].
Result<std::optional<Duration>> parse_request_timeout(const std::string& field);

// X-Request-Id and, within a trace, traceparent.
void add_context_headers(const RequestContext& context, HttpResponse& response);

}  // namespace tutti::server
