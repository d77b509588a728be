// Whether two values say the same on the channel: by their bytes.
#pragma once

#include <string>

#include "engine/channel/frames.h"

namespace tutti::testing {

inline std::string bytes_of(const engine::Frame& frame) {
  std::string bytes;
  engine::append_frame(frame, bytes);
  return bytes;
}

}  // namespace tutti::testing
