// A range of bytes of a text.
#pragma once

#include <cstddef>

namespace tutti::text {

// Half-open: the bytes begin, begin + 1, …, end - 1.
struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;

  bool operator==(const TextSpan&) const = default;
};

}  // namespace tutti::text
