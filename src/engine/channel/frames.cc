#include "engine/channel/frames.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "engine/channel/wire.h"

namespace tutti::engine {
namespace {

template <typename T, typename U>
concept Same = std::is_same_v<std::remove_cvref_t<T>, U>;

// Used-up bytes that a reader keeps at most before it moves the rest down.
constexpr std::size_t kCompactionBytes = 1 << 20;

// Each struct's fields are listed once, for writing and reading alike. The structured bindings stop
// compiling when a struct gains a field that is not listed.

void time_point(WireWriter& wire, TimePoint time) {
  wire(static_cast<std::int64_t>(time.time_since_epoch() / std::chrono::nanoseconds(1)));
}
void time_point(WireReader& wire, TimePoint& time) {
  std::int64_t nanoseconds = 0;
  wire(nanoseconds);
  time = TimePoint(std::chrono::nanoseconds(nanoseconds));
}
void duration(WireWriter& wire, Duration duration) {
  wire(static_cast<std::int64_t>(duration / std::chrono::nanoseconds(1)));
}
void duration(WireReader& wire, Duration& duration) {
  std::int64_t nanoseconds = 0;
  wire(nanoseconds);
  duration = std::chrono::nanoseconds(nanoseconds);
}

template <typename E>
void enumerator(WireWriter& wire, E value, E) {
  wire(static_cast<std::uint8_t>(value));
}
template <typename E>
void enumerator(WireReader& wire, E& value, E last) {
  std::uint8_t number = 0;
  wire(number);
  if (number > static_cast<std::uint8_t>(last)) wire.fail();
  value = wire.ok() ? static_cast<E>(number) : E{};
}

// A list of pairs of 4 bytes each.
template <typename Pair>
void pairs(WireWriter& wire, const std::vector<Pair>& list) {
  wire(static_cast<std::uint32_t>(list.size()));
  for (const auto& [token, number] : list) {
    wire(token);
    wire(number);
  }
}
template <typename Pair>
void pairs(WireReader& wire, std::vector<Pair>& list) {
  list.resize(wire.count(8));
  for (auto& [token, number] : list) {
    wire(token);
    wire(number);
  }
}

void optional_time(WireWriter& wire, const std::optional<TimePoint>& time) {
  wire(time.has_value());
  if (time) time_point(wire, *time);
}
void optional_time(WireReader& wire, std::optional<TimePoint>& time) {
  bool has_value = false;
  wire(has_value);
  time.reset();
  if (has_value) time_point(wire, time.emplace());
}

void status_fields(WireWriter& wire, const Status& status) {
  enumerator(wire, status.kind(), ErrorKind::kInternal);
  wire(std::string_view(status.message()));
  wire(std::string_view(status.field()));
}
void status_fields(WireReader& wire, Status& status) {
  ErrorKind kind{};
  std::string message, field;
  enumerator(wire, kind, ErrorKind::kInternal);
  wire(message);
  wire(field);
  status = Status(kind, std::move(message), std::move(field));
}

void fields(auto& wire, Same<SamplingParams> auto& params) {
  auto& [temperature, top_k, top_p, min_p, typical_p, repeat_penalty, repeat_last_n,
         frequency_penalty, presence_penalty, logit_bias, seed, min_tokens, max_tokens, ignore_eos,
         stop_token_ids, logprobs, top_logprobs] = params;
  wire(temperature), wire(top_k), wire(top_p), wire(min_p), wire(typical_p);
  wire(repeat_penalty), wire(repeat_last_n), wire(frequency_penalty), wire(presence_penalty);
  pairs(wire, logit_bias);
  wire(seed), wire(min_tokens), wire(max_tokens), wire(ignore_eos), wire(stop_token_ids);
  wire(logprobs), wire(top_logprobs);
}

void fields(auto& wire, Same<SequenceRequest> auto& request) {
  auto& [id, prompt, generated, sampling, end_tokens, tenant, tenant_weight, cache_salt, priority,
         deadline] = request;
  wire(id.value), wire(prompt), wire(generated);
  fields(wire, sampling);
  wire(end_tokens), wire(tenant), wire(tenant_weight), wire(cache_salt), wire(priority);
  optional_time(wire, deadline);
}

void fields(auto& wire, Same<Usage> auto& usage) {
  auto& [prompt_tokens, completion_tokens, cached_tokens] = usage;
  wire(prompt_tokens), wire(completion_tokens), wire(cached_tokens);
}

void fields(auto& wire, Same<Timings> auto& timings) {
  auto& [queued, prefill, decode] = timings;
  duration(wire, queued), duration(wire, prefill), duration(wire, decode);
}

void fields(auto& wire, Same<TokenEvent> auto& event) {
  auto& [token, index, logprob, top_logprobs] = event;
  wire(token), wire(index), wire(logprob);
  pairs(wire, top_logprobs);
}

void fields(auto& wire, Same<FinishedEvent> auto& event) {
  auto& [reason, stop_token, usage, timings] = event;
  enumerator(wire, reason, FinishReason::kLength);
  wire(stop_token);
  fields(wire, usage);
  fields(wire, timings);
}

void fields(auto& wire, Same<FailedEvent> auto& event) {
  auto& [status, usage, timings] = event;
  status_fields(wire, status);
  fields(wire, usage);
  fields(wire, timings);
}

void fields(auto& wire, Same<EngineStats> auto& stats) {
  auto& [num_running, num_waiting, num_blocks, num_used_blocks, num_cached_blocks, num_steps,
         num_prompt_tokens, num_generation_tokens, num_preemptions, num_recomputed_tokens,
         num_prefix_queries, num_prefix_hits, num_spill_blocks, num_spill_reads, num_spill_writes,
         num_spill_bytes, num_spill_evictions, num_spill_damages, num_pending_prompt_tokens,
         prompt_tokens_per_second, ended_per_second, last_token_time, num_restarts, unavailable_for,
         rows_of_steps] = stats;
  wire(num_running), wire(num_waiting);
  wire(num_blocks), wire(num_used_blocks), wire(num_cached_blocks);
  wire(num_steps), wire(num_prompt_tokens), wire(num_generation_tokens);
  wire(num_preemptions), wire(num_recomputed_tokens);
  wire(num_prefix_queries), wire(num_prefix_hits);
  wire(num_spill_blocks), wire(num_spill_reads), wire(num_spill_writes), wire(num_spill_bytes);
  wire(num_spill_evictions), wire(num_spill_damages), wire(num_pending_prompt_tokens);
  wire(prompt_tokens_per_second), wire(ended_per_second);
  time_point(wire, last_token_time);
  wire(num_restarts), duration(wire, unavailable_for);
  for (auto& each : rows_of_steps.counts) wire(each);
  wire(rows_of_steps.sum);
}

void fields(auto& wire, Same<SubmitFrame> auto& frame) { fields(wire, frame.request); }
void fields(auto& wire, Same<CancelFrame> auto& frame) { wire(frame.id.value); }
void fields(auto&, Same<StopFrame> auto&) {}
void fields(auto& wire, Same<ProgressFrame> auto& frame) { wire(frame.fraction); }
void fields(auto& wire, Same<HelloFrame> auto& frame) {
  auto& [max_model_len, vocab_size] = frame.limits;
  wire(max_model_len), wire(vocab_size), wire(frame.details);
}
void fields(auto& wire, Same<LoadFailedFrame> auto& frame) { status_fields(wire, frame.status); }
void fields(auto& wire, Same<TokenFrame> auto& frame) {
  wire(frame.id.value);
  fields(wire, frame.event);
}
void fields(auto& wire, Same<FinishedFrame> auto& frame) {
  wire(frame.id.value);
  fields(wire, frame.event);
}
void fields(auto& wire, Same<FailedFrame> auto& frame) {
  wire(frame.id.value);
  fields(wire, frame.event);
}
void fields(auto& wire, Same<StatsFrame> auto& frame) { fields(wire, frame.stats); }

template <std::size_t index>
Frame read_alternative(WireReader& reader) {
  std::variant_alternative_t<index, Frame> frame;
  fields(reader, frame);
  return frame;
}

using ReadFunction = Frame (*)(WireReader&);
template <std::size_t... indices>
constexpr std::array<ReadFunction, sizeof...(indices)> make_readers(
    std::index_sequence<indices...>) {
  return {read_alternative<indices>...};
}
// A frame's type is its place in the variant.
constexpr auto kReaders = make_readers(std::make_index_sequence<std::variant_size_v<Frame>>());

}  // namespace

void append_frame(const Frame& frame, std::string& out) {
  const std::size_t header = out.size();
  WireWriter writer(out);
  writer(std::uint32_t{0});
  writer(kFrameVersion);
  writer(static_cast<std::uint8_t>(frame.index()));
  std::visit([&writer](const auto& alternative) { fields(writer, alternative); }, frame);
  const std::size_t payload = out.size() - header - kFrameHeaderBytes;
  TUTTI_CHECK(payload <= kMaxPayloadBytes) << payload << " bytes in a frame";
  const auto length = static_cast<std::uint32_t>(payload);
  std::memcpy(out.data() + header, &length, sizeof length);
}

void FrameReader::push(std::string_view bytes) {
  if (begin_ >= kCompactionBytes || begin_ == buffer_.size()) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameReader::next() {
  const std::string_view bytes = std::string_view(buffer_).substr(begin_);
  if (bytes.size() < kFrameHeaderBytes) return std::optional<Frame>();
  WireReader header(bytes);
  std::uint32_t length = 0;
  std::uint8_t version = 0, type = 0;
  header(length), header(version), header(type);
  if (version != kFrameVersion || type >= kReaders.size() || length > kMaxPayloadBytes) {
    return corrupt(fmt::format("a frame of version {}, type {}, {} bytes", version, type, length));
  }
  if (bytes.size() < kFrameHeaderBytes + length) return std::optional<Frame>();
  WireReader payload(bytes.substr(kFrameHeaderBytes, length));
  Frame frame = kReaders[type](payload);
  if (!payload.is_complete()) {
    return corrupt(fmt::format("the {} bytes of a frame of type {} are not one", length, type));
  }
  begin_ += kFrameHeaderBytes + length;
  return std::optional<Frame>(std::move(frame));
}

}  // namespace tutti::engine
