// What is done to a text before it is cut into pieces.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

// A list of normalizers, applied in order.
// Thread safety: immutable after construction.
class Normalizer {
 public:
  using Step = std::function<std::string(std::string_view)>;

  // Errors: a pattern that does not compile, a list or a replacement that is too long.
  static Result<Normalizer> create(const std::vector<NormalizerSpec>& specs);

  bool is_identity() const { return steps_.empty(); }
  // A text that has grown to more than kMaxGrowth times its length is not worked on further.
  std::string apply(std::string_view text) const;

  static constexpr std::size_t kMaxGrowth = 64;

 private:
  std::vector<Step> steps_;
};

}  // namespace tutti::text
