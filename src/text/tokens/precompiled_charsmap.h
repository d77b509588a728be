// SentencePiece's compiled character map.
//
// Format (sentencepiece/src/normalizer.cc): u32 byte size of a trie, the trie (a darts-clone double
// array of u32), then replacements that end in NUL; a leaf's value is an offset into those.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tutti::text {

// Thread safety: immutable after construction.
class PrecompiledCharsmap {
 public:
  // Errors: kCorrupt when the sizes do not fit. Offsets are checked at each step.
  static Result<PrecompiledCharsmap> parse(std::string_view bytes);

  // Each grapheme shorter than six bytes as a whole, else each character, is replaced by what the
  // map holds for its shortest prefix that is in the map.
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> find(std::string_view chunk) const;
  void append_grapheme(std::string_view grapheme, std::string& result) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace tutti::text
