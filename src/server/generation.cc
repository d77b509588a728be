#include "server/generation.h"

#include <algorithm>

#include "server/sequence_id.h"

namespace tutti::server {
namespace {

bool asks_for_tokens(const Request& request) {
  return request.sampling.logprobs || request.return_token_ids;
}

Timings longest(const Timings& a, const Timings& b) {
  return {std::max(a.queued, b.queued), std::max(a.prefill, b.prefill),
          std::max(a.decode, b.decode)};
}

void observe_sequence(ModelMetrics& metrics, const Usage& usage, const Timings& timings,
                      Duration total) {
  metrics.prompt_tokens.observe(usage.prompt_tokens);
  metrics.generation_tokens.observe(usage.completion_tokens);
  metrics.e2e_latency.observe(to_seconds(total));
  if (usage.completion_tokens > 1) {
    metrics.time_per_output_token.observe(to_seconds(timings.decode) /
                                          (usage.completion_tokens - 1));
  }
  metrics.queue_time.observe(to_seconds(timings.queued));
  metrics.prefill_time.observe(to_seconds(timings.prefill));
  metrics.decode_time.observe(to_seconds(timings.decode));
  metrics.inference_time.observe(to_seconds(timings.prefill + timings.decode));
}

}  // namespace

Generation::Generation(PreparedRequest prepared, std::function<void()> wake, ModelMetrics* metrics,
                       bool keeps_tokens)
    : prepared_(std::move(prepared)),
      metrics_(metrics),
      keeps_tokens_(keeps_tokens),
      submitted_(SteadyClock::now()),
      inbox_(std::make_shared<EventInbox>(std::move(wake))) {}

Result<std::unique_ptr<Generation>> Generation::start(PreparedRequest prepared,
                                                      std::function<void()> wake,
                                                      ModelMetrics* metrics, bool keeps_tokens) {
  std::unique_ptr<Generation> generation(
      new Generation(std::move(prepared), std::move(wake), metrics, keeps_tokens));
  const Status status = generation->submit_all();
  if (!status.ok()) {
    generation->recorded_ = true;  // the caller counts it as rejected
    return status;
  }
  return generation;
}

Generation::~Generation() {
  inbox_->close();
  cancel_open();
  record_outcome();
}

Status Generation::submit_all() {
  const Request& request = prepared_.request;
  const std::size_t num_choices =
      prepared_.prompts.size() * static_cast<std::size_t>(std::max(1, request.n));
  choices_.reserve(num_choices);
  for (std::size_t i = 0; i < num_choices; ++i) {
    ChoiceStream::Options options;
    options.choice = static_cast<int>(i);
    options.stop = request.stop;
    options.include_stop = request.include_stop_str_in_output;
    options.skip_special_tokens = request.skip_special_tokens;
    options.wants_tokens = asks_for_tokens(request);
    options.min_tokens = request.sampling.min_tokens;
    choices_.push_back({.id = next_sequence_id(),
                        .stream = ChoiceStream(*prepared_.model->tokenizer, std::move(options)),
                        .usage = {},
                        .timings = {},
                        .tokens = {}});
  }
  if (metrics_) metrics_->params_n.observe(std::max(1, request.n));
  for (std::size_t prompt = 0; prompt < prepared_.prompts.size(); ++prompt) {
    if (metrics_) metrics_->params_max_tokens.observe(prepared_.prompts[prompt].max_tokens);
    for (int i = 0; i < std::max(1, request.n); ++i) {
      TUTTI_RETURN_IF_ERROR(submit_choice(prompt, i));
    }
  }
  return {};
}

Status Generation::submit_choice(std::size_t prompt_index, int choice_of_prompt) {
  const PreparedPrompt& prompt = prepared_.prompts[prompt_index];
  const int n = std::max(1, prepared_.request.n);
  const int index = static_cast<int>(prompt_index) * n + choice_of_prompt;
  Choice& choice = choices_[static_cast<std::size_t>(index)];
  EventSink sink(make_receiver(inbox_, index));
  ++num_open_;
  if (prompt.max_tokens == 0) {
    FinishedEvent nothing;
    nothing.reason = FinishReason::kLength;
    nothing.usage.prompt_tokens = static_cast<int>(prompt.tokens.size());
    sink.finish(nothing);
    return {};
  }
  SequenceRequest sequence;
  sequence.id = choice.id;
  sequence.prompt = prompt.tokens;
  sequence.sampling = prepared_.sampling;
  sequence.end_tokens = prepared_.end_tokens;
  sequence.sampling.max_tokens = prompt.max_tokens;
  sequence.sampling.min_tokens = std::min(sequence.sampling.min_tokens, prompt.max_tokens);
  sequence.tenant = prepared_.tenant;
  sequence.tenant_weight = prepared_.tenant_weight;
  sequence.cache_salt = prepared_.request.cache_salt;
  sequence.priority = prepared_.request.priority;
  sequence.deadline = prepared_.deadline;
  sequence.sampling.seed += static_cast<std::uint64_t>(choice_of_prompt);
  return prepared_.model->engine->submit(std::move(sequence), sink);
}

std::vector<dialects::OutputDelta> Generation::take() {
  std::vector<dialects::OutputDelta> deltas, ignored;
  for (InboxItem& item : inbox_->take()) {
    if (failure_.ok()) {
      handle(item, deltas);
    } else if (!std::holds_alternative<TokenEvent>(item.event)) {
      handle(item, ignored);
    }
  }
  return deltas;
}

void Generation::handle(InboxItem& item, std::vector<dialects::OutputDelta>& deltas) {
  Choice& choice = choices_[static_cast<std::size_t>(item.choice)];
  if (const auto* token = std::get_if<TokenEvent>(&item.event)) {
    if (!choice.stream.finished()) on_token(choice, *token, item.arrived, deltas);
  } else if (const auto* finished = std::get_if<FinishedEvent>(&item.event)) {
    on_finished(choice, *finished, deltas);
  } else {
    on_failed(choice, std::get<FailedEvent>(item.event));
  }
}

void Generation::on_token(Choice& choice, const TokenEvent& event, TimePoint arrived,
                          std::vector<dialects::OutputDelta>& deltas) {
  const bool is_first = choice.stream.num_tokens() == 0;
  if (is_first) choice.first_token = arrived;
  if (metrics_) {
    Histogram& histogram = is_first ? metrics_->time_to_first_token : metrics_->inter_token_latency;
    histogram.observe(to_seconds(arrived - (is_first ? submitted_ : choice.last_token)));
  }
  choice.last_token = arrived;
  if (keeps_tokens_) choice.tokens.push_back(event.token);
  dialects::OutputDelta delta = choice.stream.push(event);
  if (choice.stream.finished()) prepared_.model->engine->cancel(choice.id);
  deltas.push_back(std::move(delta));
}

void Generation::on_finished(Choice& choice, const FinishedEvent& event,
                             std::vector<dialects::OutputDelta>& deltas) {
  choice.timings = event.timings;
  choice.reason = event.reason;
  Usage usage = event.usage;
  if (choice.stream.finished()) {  // a stop string came first
    usage.completion_tokens = choice.stream.num_tokens();
    choice.reason = FinishReason::kStop;
  } else {
    const auto& stops = prepared_.sampling.stop_token_ids;
    const bool was_asked_for =
        std::find(stops.begin(), stops.end(), event.stop_token) != stops.end();
    deltas.push_back(choice.stream.finish(event.reason, event.stop_token, was_asked_for));
  }
  if (metrics_) {
    auto& counter =
        event.reason == FinishReason::kLength ? metrics_->finished_length : metrics_->finished_stop;
    counter.fetch_add(1, std::memory_order_relaxed);
  }
  close_choice(choice, usage);
}

void Generation::on_failed(Choice& choice, const FailedEvent& event) {
  if (!choice.stream.finished()) {
    choice.timings = event.timings.total() > Duration{} ? event.timings : own_timings(choice);
    if (metrics_) metrics_->finished_abort.fetch_add(1, std::memory_order_relaxed);
    close_choice(choice, event.usage);
    if (failure_.ok()) failure_ = event.status;
    cancel_open();
    return;
  }
  // The answer to the cancel after a stop string.
  Usage usage = event.usage;
  usage.completion_tokens = choice.stream.num_tokens();
  choice.timings = event.timings;
  choice.timings.decode = choice.last_token - choice.first_token;
  if (metrics_) metrics_->finished_stop.fetch_add(1, std::memory_order_relaxed);
  close_choice(choice, usage);
}

void Generation::fail(Status status) {
  if (finished()) return;
  failure_ = std::move(status);
  cancel_open();
}

Timings Generation::own_timings(const Choice& choice) const {
  if (choice.stream.num_tokens() == 0) return {.queued = SteadyClock::now() - submitted_};
  return {.prefill = choice.first_token - submitted_,
          .decode = choice.last_token - choice.first_token};
}

void Generation::close_choice(Choice& choice, const Usage& usage) {
  choice.open = false;
  choice.usage = usage;
  --num_open_;
  if (metrics_) {
    observe_sequence(*metrics_, usage, choice.timings, SteadyClock::now() - submitted_);
  }
}

void Generation::cancel_open() {
  for (Choice& choice : choices_) {
    if (choice.open) prepared_.model->engine->cancel(choice.id);
  }
}

dialects::Completion Generation::completion() const {
  TUTTI_CHECK(finished() && failure_.ok()) << "a request that has not ended well";
  dialects::Completion completion;
  const auto n = static_cast<std::size_t>(std::max(1, prepared_.request.n));
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    completion.usage.completion_tokens += choice.usage.completion_tokens;
    completion.timings = longest(completion.timings, choice.timings);
    if (i % n != 0) continue;  // each prompt once
    completion.usage.prompt_tokens += static_cast<int>(prepared_.prompts[i / n].tokens.size());
    completion.usage.cached_tokens += choice.usage.cached_tokens;
  }
  if (keeps_tokens_ && !choices_.empty()) {
    completion.context = prepared_.prompts[0].tokens;
    const std::vector<TokenId>& answer = choices_[0].tokens;
    completion.context.insert(completion.context.end(), answer.begin(), answer.end());
  }
  return completion;
}

GenerationReport Generation::report() const {
  GenerationReport report;
  const auto n = static_cast<std::size_t>(std::max(1, prepared_.request.n));
  bool any_length = false;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    const Timings timings = choice.open ? own_timings(choice) : choice.timings;
    const int completion_tokens =
        choice.open ? choice.stream.num_tokens() : choice.usage.completion_tokens;
    any_length |= choice.reason == FinishReason::kLength;
    report.usage.completion_tokens += completion_tokens;
    report.timings = longest(report.timings, timings);
    if (i % n != 0) continue;
    report.usage.prompt_tokens += static_cast<int>(prepared_.prompts[i / n].tokens.size());
    report.usage.cached_tokens += choice.usage.cached_tokens;
  }
  report.end = !failure_.ok()  ? to_string(failure_.kind())
               : num_open_ > 0 ? "cancelled"
               : any_length    ? "length"
                               : "stop";
  return report;
}

void Generation::record_outcome() {
  if (recorded_ || !metrics_) return;
  recorded_ = true;
  for (const Choice& choice : choices_) {
    if (choice.open) metrics_->finished_abort.fetch_add(1, std::memory_order_relaxed);
  }
  const bool is_cancelled = !failure_.ok() && failure_.kind() == ErrorKind::kCancelled;
  metrics_->count_request(is_cancelled || (failure_.ok() && num_open_ > 0) ? Outcome::kCancelled
                          : !failure_.ok()                                 ? Outcome::kFailed
                                                                           : Outcome::kSucceeded);
}

}  // namespace tutti::server
