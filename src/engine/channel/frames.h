// What the front and an engine process say to each other, as bytes.
//
// A frame is: u32 length of the payload, u8 kVersion, u8 type, payload. Integers are little-endian;
// times are nanoseconds of the machine's steady clock, which both processes read. Neither end
// trusts the other: a frame that is too long, of an unknown version or type, cut short, with bytes
// left over, or with a value out of its range is an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "core/event.h"
#include "core/request.h"
#include "engine/engine.h"
#include "engine/submission_check.h"

namespace tutti::engine {

inline constexpr std::uint8_t kFrameVersion = 1;
inline constexpr std::size_t kFrameHeaderBytes = 6;
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{64} << 20;

// Front to engine.
struct SubmitFrame {
  SequenceRequest request;
};
struct CancelFrame {
  SequenceId id;
};
struct StopFrame {};  // the engine process is to end

// Engine to front.
struct ProgressFrame {
  double fraction = 0;  // of the loading, [0, 1]
};
// The engine is ready for sequences. `details` is the loader's: what it planned, as JSON.
struct HelloFrame {
  EngineLimits limits;
  std::string details;
};
// The engine could not be loaded; the process ends.
struct LoadFailedFrame {
  Status status;  // never ok
};
struct TokenFrame {
  SequenceId id;
  TokenEvent event;
};
struct FinishedFrame {
  SequenceId id;
  FinishedEvent event;
};
struct FailedFrame {
  SequenceId id;
  FailedEvent event;
};
struct StatsFrame {
  EngineStats stats;
};

using Frame = std::variant<SubmitFrame, CancelFrame, StopFrame, ProgressFrame, HelloFrame,
                           LoadFailedFrame, TokenFrame, FinishedFrame, FailedFrame, StatsFrame>;

// Appends a frame to `out`. Its payload must not be over kMaxPayloadBytes (checked); a prompt of a
// million tokens takes 4 MiB.
void append_frame(const Frame& frame, std::string& out);

// Cuts a stream of bytes into frames.
class FrameReader {
 public:
  void push(std::string_view bytes);

  // The next whole frame, or nullopt when more bytes are needed. Errors: kCorrupt, after which the
  // stream cannot be read on.
  Result<std::optional<Frame>> next();

 private:
  std::string buffer_;
  std::size_t begin_ = 0;  // bytes before are used up
};

}  // namespace tutti::engine
