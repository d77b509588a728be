// One line of the log for each request that asks for an answer.
#pragma once

#include <string>

#include "core/event.h"
#include "server/request_context.h"

namespace tutti::server {

// What is known of a request when it has ended.
struct RequestRecord {
  std::string path;
  std::string model;  // empty when none was found
  int status = 0;     // HTTP's; 0 when the client had gone before one was sent
  std::string end;    // see GenerationReport; for a request that was refused the error's kind
  Usage usage;
  Timings timings;
  // With --log-content only.
  std::string prompt, completion, error;
};

// id, trace_id (within a trace), tenant, path, model, status, end, prompt_tokens, cached_tokens,
// completion_tokens, and the seconds queue_time, prefill_time, decode_time and total_time. Of the
// content at most 64 KiB each.
void log_request(const RequestContext& context, const RequestRecord& record, Duration total);

}  // namespace tutti::server
