#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

#include "base/log.h"
#include "dialects/openai_fields.h"
#include "server/connection.h"
#include "text/tokenizer.h"

namespace tutti::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Above this a body is parsed and tokenised on a worker, so that no other stream waits for it.
constexpr std::size_t kMaxBytesOnIoThread = 16 << 10;
// A stream's header goes out with its first output, so that an error before it can still have a
// status of its own; but not later than this, for clients that wait for the header only so long.
constexpr auto kHeaderDelay = std::chrono::seconds(10);
constexpr std::size_t kReadAheadSize = 4 << 10;

// A template of the client's may take a second of work.
bool needs_worker(Endpoint endpoint, const std::string& body) {
  return body.size() > kMaxBytesOnIoThread ||
         (endpoint == Endpoint::kOllamaGenerate && body.find("template") != std::string::npos);
}

struct PrepareJob {
  PrepareJob(Endpoint the_endpoint, std::string the_body, RequestContext the_context,
             MemoryShare the_body_memory)
      : endpoint(the_endpoint),
        body(std::move(the_body)),
        context(std::move(the_context)),
        body_memory(std::move(the_body_memory)) {}

  Endpoint endpoint;
  std::string body;
  RequestContext context;
  MemoryShare body_memory;
  std::shared_ptr<Result<GenerationCall>> result;
  std::atomic<bool> done{false};
};

Status deadline_passed(Duration timeout) {
  return {ErrorKind::kDeadlineExceeded,
          fmt::format("the request's time of {:g} seconds is over", to_seconds(timeout))};
}

std::shared_ptr<Result<GenerationCall>> share(Result<GenerationCall> result) {
  return std::make_shared<Result<GenerationCall>>(std::move(result));
}

// An exception (no memory for a huge body, say) ends the request, on whatever thread it is.
std::shared_ptr<Result<GenerationCall>> prepare_shared(Endpoint endpoint, const std::string& body,
                                                       const RequestContext& context,
                                                       const ModelRegistry& registry) {
  constexpr int kMaxSequences = dialects::openai::kMaxTotalChoices;
  try {
    return share(prepare_call(endpoint, body, context, registry, kMaxSequences));
  } catch (const std::exception& error) {
    log::error("a request could not be prepared: {}", error.what());
    return share(Status(ErrorKind::kInternal, "the request could not be prepared"));
  }
}

}  // namespace

void Connection::start_watching() {
  watching_ = true;
  watcher_runs_ = true;
  disconnected_ = false;
  asio::co_spawn(
      context_.io, [self = shared_from_this()] { return self->watch(); }, asio::detached);
}

asio::awaitable<void> Connection::stop_watching() {
  watching_ = false;
  error_code ignored;
  socket_.cancel(ignored);
  while (watcher_runs_) co_await signal_->wait();
}

asio::awaitable<void> Connection::watch() {
  while (watching_ && reader_.num_buffered() < context_.options.max_pipelined_bytes) {
    error_code code;
    co_await socket_.async_wait(tcp::socket::wait_read,
                                asio::redirect_error(asio::use_awaitable, code));
    if (!watching_) break;
    if (code == asio::error::operation_aborted && !ended_ && socket_.is_open()) {
      if (timed_out_) break;  // of a write, which ends the answer itself
      continue;
    }
    if (!code) {
      const std::span<char> room = reader_.prepare(kReadAheadSize);
      const std::size_t num_read = socket_.read_some(asio::buffer(room.data(), room.size()), code);
      if (!code) reader_.commit(num_read);
      if (code == asio::error::would_block) continue;
    }
    if (code) {
      disconnected_ = true;
      error_code ignored;
      socket_.cancel(ignored);  // a write that waits for this client
      break;
    }
  }
  watcher_runs_ = false;
  signal_->notify();
}

asio::awaitable<bool> Connection::generate(const Route& route, HttpRequest& request) {
  record_.path = request.path;
  start_watching();
  const auto call = co_await prepare(route.endpoint, std::move(request.body));
  bool keeps = false;
  if (disconnected_) {
    finish_record(nullptr);  // nobody is there to answer
  } else if (!call->ok()) {
    co_await stop_watching();
    if (!disconnected_) keeps = co_await send_error(request, route, call->status());
    finish_record(nullptr);
    co_return keeps;
  } else {
    keeps = co_await run_generation(route, request, **call);
  }
  co_await stop_watching();
  if (!keeps && !disconnected_ && !timed_out_) co_await linger();
  co_return keeps && !disconnected_;
}

asio::awaitable<bool> Connection::send_error(const HttpRequest& request, const Route& route,
                                             const Status& status, int retry_after) {
  record_.end = to_string(status.kind());
  if (context_.options.log_content) record_.error = status.message();
  co_return co_await send(request, render_error(route.dialect, status, retry_after));
}

void Connection::finish_record(const Generation* generation) {
  if (generation) {
    const GenerationReport report = generation->report();
    record_.usage = report.usage;
    record_.timings = report.timings;
    record_.end = report.end;
    if (context_.options.log_content) {
      const PreparedRequest& prepared = generation->prepared();
      for (const PreparedPrompt& prompt : prepared.prompts) {
        record_.prompt += prepared.model->tokenizer->decode(prompt.tokens, false);
      }
    }
  }
  if (record_.end.empty()) record_.end = "cancelled";
  log_request(request_context_, record_, SteadyClock::now() - request_context_.received);
}

void Connection::keep_content(const std::vector<dialects::OutputDelta>& deltas) {
  if (!context_.options.log_content) return;
  for (const auto& delta : deltas) record_.completion += delta.text;
}

asio::awaitable<std::shared_ptr<Result<GenerationCall>>> Connection::prepare(Endpoint endpoint,
                                                                             std::string body) {
  const ModelRegistry& registry = context_.state.registry;
  if (!needs_worker(endpoint, body)) {
    body_memory_.release();
    co_return prepare_shared(endpoint, body, request_context_, registry);
  }
  // The body may outlive this connection, and so does its share of the memory.
  auto job = std::make_shared<PrepareJob>(endpoint, std::move(body), request_context_,
                                          std::move(body_memory_));
  asio::post(context_.workers, [job, &registry, wakes = context_.wakes, signal = signal_] {
    job->result = prepare_shared(job->endpoint, job->body, job->context, registry);
    job->body = {};
    job->body_memory.release();
    job->done = true;
    wakes->push(signal);
  });
  while (!job->done && !disconnected_ && !context_.ending) co_await signal_->wait();
  co_return job->done ? job->result : share(shutting_down());
}

asio::awaitable<bool> Connection::run_generation(const Route& route, const HttpRequest& request,
                                                 GenerationCall& call) {
  record_.model = call.served.model->info.name;
  if (call.load_only) {
    HttpResponse response;
    response.body = call.renderer->whole(call.head, {}, complete(call, nullptr));
    record_.end = "load";
    const bool keeps = co_await send(request, std::move(response));
    finish_record(nullptr);
    co_return keeps;
  }
  auto generation = Generation::start(
      std::move(call.prepared), [wakes = context_.wakes, signal = signal_] { wakes->push(signal); },
      call.served.metrics.get(), call.keeps_tokens);
  if (!generation.ok()) {
    call.served.metrics->count_request(Outcome::kRejected);
    const bool keeps =
        co_await send_error(request, route, generation.status(), retry_after_seconds(call.served));
    finish_record(nullptr);
    co_return keeps;
  }
  bool keeps = false;
  // Not `?:`: GCC 12 evaluates both sides when they hold co_await.
  if (call.stream) {
    keeps = co_await send_stream(route, request, call, **generation);
  } else {
    keeps = co_await send_whole(route, request, call, **generation);
  }
  co_await settle(**generation);
  finish_record(generation->get());
  co_return keeps;
}

asio::awaitable<void> Connection::settle(Generation& generation) {
  // What a cancellation may take.
  constexpr auto kLongest = std::chrono::milliseconds(250);
  if (!generation.has_open()) co_return;
  generation.cancel();
  const TimePoint deadline = SteadyClock::now() + kLongest;
  while (true) {
    generation.take();
    if (!generation.has_open() || SteadyClock::now() >= deadline) co_return;
    co_await signal_->wait_until(deadline);
  }
}

void Connection::end_when_due(const GenerationCall& call, Generation& generation) {
  if (context_.ending) generation.fail(shutting_down());
  const auto& deadline = generation.prepared().deadline;
  if (deadline && SteadyClock::now() >= *deadline) generation.fail(deadline_passed(*call.timeout));
}

asio::awaitable<bool> Connection::send_whole(const Route& route, const HttpRequest& request,
                                             GenerationCall& call, Generation& generation) {
  const TimePoint deadline = generation.prepared().deadline.value_or(TimePoint::max());
  std::vector<dialects::OutputDelta> deltas;
  while (true) {
    for (auto& delta : generation.take()) deltas.push_back(std::move(delta));
    if (disconnected_) co_return false;
    end_when_due(call, generation);
    if (generation.finished()) break;
    co_await signal_->wait_until(deadline);
  }
  keep_content(deltas);
  if (!generation.failure().ok()) {
    co_return co_await send_error(request, route, generation.failure(),
                                  retry_after_seconds(call.served));
  }
  HttpResponse response;
  response.body = call.renderer->whole(call.head, deltas, complete(call, &generation));
  co_return co_await send(request, std::move(response));
}

asio::awaitable<bool> Connection::send_stream(const Route& route, const HttpRequest& request,
                                              GenerationCall& call, Generation& generation) {
  const bool keeps = keeps_alive(request) && !request.is_http_1_0;
  const TimePoint deadline = generation.prepared().deadline.value_or(TimePoint::max());
  const Duration keep_alive = context_.options.sse_keep_alive;
  TimePoint show_life_at = SteadyClock::now() + std::min<Duration>(kHeaderDelay, keep_alive);
  bool has_begun = false;
  while (!disconnected_) {
    const std::vector<dialects::OutputDelta> deltas = generation.take();
    keep_content(deltas);
    end_when_due(call, generation);
    const bool finished = generation.finished();
    const bool failed = !generation.failure().ok();
    if (failed && !has_begun) {
      co_return co_await send_error(request, route, generation.failure(),
                                    retry_after_seconds(call.served));
    }
    const bool is_silent = SteadyClock::now() >= show_life_at;
    std::string body, out;
    if (!has_begun && (!deltas.empty() || finished || is_silent)) {
      has_begun = true;
      out = stream_head(request, *call.renderer, keeps);
      body = call.renderer->begin(call.head);
    } else if (has_begun && is_silent) {
      body = call.renderer->keep_alive();
      show_life_at = SteadyClock::now() + keep_alive;
    }
    for (const auto& delta : deltas) body += call.renderer->delta(delta);
    if (failed) {
      body += call.renderer->error(generation.failure());
    } else if (finished) {
      body += call.renderer->end(complete(call, &generation));
    }
    out += request.is_http_1_0 ? body : format_chunk(body);
    if (finished && !request.is_http_1_0) out += kLastChunk;
    if (!out.empty()) {
      if (!co_await write(out)) co_return false;
      show_life_at = SteadyClock::now() + keep_alive;
    }
    if (finished) co_return keeps;
    co_await signal_->wait_until(std::min(deadline, show_life_at));
  }
  co_return false;
}

std::string Connection::stream_head(const HttpRequest& request,
                                    const dialects::ResponseRenderer& renderer, bool keeps) {
  HttpResponse response;
  response.content_type = renderer.stream_content_type();
  response.headers = context_.guard.cors_headers(request);
  response.headers.emplace_back("Cache-Control", "no-cache");
  response.headers.emplace_back("X-Accel-Buffering", "no");
  add_context_headers(request_context_, response);
  record_.status = response.status;
  context_.state.counters.count_response(200);
  log::debug("{} {} {} 200, a stream", request_context_.id, request.method, request.path);
  return format_response_head(
      response, request, request.is_http_1_0 ? BodyFraming::kUntilClose : BodyFraming::kChunked,
      keeps);
}

}  // namespace tutti::server
