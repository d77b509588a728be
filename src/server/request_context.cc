#include "server/request_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/random.h"

namespace tutti::server {
namespace {

constexpr std::size_t kMaxIdBytes = 128;
constexpr double kMaxTimeoutSeconds = 86400;

}  // namespace

std::string random_request_id() {
  return fmt::format("{:016x}{:016x}", random_bits(), random_bits());
}

bool is_request_id(const std::string& text) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.:/+=@").find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= kMaxIdBytes &&
         std::all_of(text.begin(), text.end(), is_allowed);
}

RequestContext make_request_context() {
  RequestContext context;
  context.id = random_request_id();
  context.received = SteadyClock::now();
  return context;
}

RequestContext make_request_context(const HttpRequest& request, const TenantTable& tenants) {
  RequestContext context = make_request_context();
  context.has_own_id = is_request_id(request.request_id);
  if (context.has_own_id) context.id = request.request_id;
  if (const auto parent = parse_traceparent(request.traceparent)) {
    context.trace = in_new_span(*parent);
  }
  context.timeout_field = request.timeout;
  Result<Tenant> tenant = tenants.find(request.authorization, request.tenant_id);
  if (tenant.ok()) {
    context.tenant = std::move(*tenant);
  } else {
    context.tenant_status = tenant.status();
  }
  return context;
}

Result<std::optional<Duration>> parse_request_timeout(const std::string& field) {
  if (field.empty()) return std::optional<Duration>();
  double seconds = 0;
  const char* end = field.data() + field.size();
  const auto [rest, error] = std::from_chars(field.data(), end, seconds);
  if (error != std::errc() || rest != end || !(seconds > 0 && seconds <= kMaxTimeoutSeconds)) {
    return invalid_argument("x-request-timeout",
                            fmt::format("the x-request-timeout field must be a number of seconds "
                                        "in (0, {}]",
                                        kMaxTimeoutSeconds));
  }
  return std::optional<Duration>(
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)));
}

void add_context_headers(const RequestContext& context, HttpResponse& response) {
  response.headers.emplace_back("X-Request-Id", context.id);
  if (context.trace)
    response.headers.emplace_back("traceparent", format_traceparent(*context.trace));
}

}  // namespace tutti::server
