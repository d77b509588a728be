// The channel's frames: the first byte chooses who reads the rest, a reader of frames, a front with
// open sequences, or an engine's end. Nothing may crash, and what is read can be written again.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "engine/channel/engine_server.h"
#include "engine/channel/front.h"

namespace {

using namespace tutti;
using namespace tutti::engine;

void read_frames(std::string_view bytes) {
  FrameReader reader;
  // In two parts, so that frames are cut.
  const std::size_t half = bytes.size() / 2;
  for (const std::string_view part : {bytes.substr(0, half), bytes.substr(half)}) {
    reader.push(part);
    while (true) {
      auto frame = reader.next();
      if (!frame.ok() || !frame->has_value()) break;
      std::string again, twice;
      append_frame(**frame, again);
      FrameReader second;
      second.push(again);
      auto back = second.next();
      TUTTI_CHECK(back.ok() && back->has_value()) << "a frame that was read cannot be written";
      append_frame(**back, twice);
      TUTTI_CHECK(again == twice) << "a frame changes when it is written and read";
    }
  }
}

struct Listener final : FrontListener {
  void state_changed(const FrontState&) override {}
  void sequence_ends(SequenceId) override {}
};

// Events must come in order and end once; the sink checks the latter.
struct Receiver final : EventReceiver {
  int num_tokens = 0;
  void receive(Event event) override {
    if (const auto* token = std::get_if<TokenEvent>(&event)) {
      TUTTI_CHECK(token->index == num_tokens++) << "a token is missing or repeated";
    }
  }
};

void feed_front(std::string_view bytes) {
  Listener listener;
  const TimePoint now{std::chrono::seconds(1)};
  EngineFront front({}, listener, now);
  front.on_time({}, now);
  std::string hello;
  append_frame(HelloFrame{.limits = {.max_model_len = 100, .vocab_size = 50}, .details = {}},
               hello);
  front.on_bytes(hello, now);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    SequenceRequest request;
    request.id = SequenceId(id);
    request.prompt = {1, 2};
    front.submit(std::move(request), EventSink(std::make_shared<Receiver>()), now);
  }
  front.cancel(SequenceId(3), now);
  front.on_bytes(bytes, now);
  front.on_exit({.by_signal = true, .code = 9}, {}, now);
}

struct EchoEngine final : EngineChannel {
  Status submit(SequenceRequest request, EventSink& sink) override {
    TUTTI_RETURN_IF_ERROR(
        check_submission(request, {.max_model_len = 100, .vocab_size = 50}, TimePoint{}));
    sink.finish({});
    return {};
  }
  void cancel(SequenceId) override {}
  EngineStats stats() const override { return {}; }
  std::uint64_t progress() const override { return 0; }
  int max_model_len() const override { return 100; }
};

void feed_server(std::string_view bytes) {
  EchoEngine engine;
  EngineServer server([](std::string_view) {}, nullptr);
  server.start(engine, {});
  static_cast<void>(server.receive(bytes));
  server.published();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      read_frames(bytes);
      break;
    case 1:
      feed_front(bytes);
      break;
    default:
      feed_server(bytes);
  }
  return 0;
}
