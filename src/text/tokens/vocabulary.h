// Tokens by id and ids by token: the model's and the added ones together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
using TokenIndex = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

// Thread safety: immutable after construction.
class Vocabulary {
 public:
  // Checks every id of the spec: range, duplicates, UTF-8, and that added tokens agree with the
  // model's. Errors name the token and the bound.
  static Result<Vocabulary> create(const TokenizerSpec& spec);

  int size() const { return static_cast<int>(tokens_.size()); }
  bool contains(std::int32_t id) const {
    return id >= 0 && id < size() && kinds_[static_cast<std::size_t>(id)] != 0;
  }
  // Empty for an id without token.
  const std::string& token(std::int32_t id) const;
  std::optional<std::int32_t> find(std::string_view token) const;

  // Left out by decode when it skips special tokens.
  bool is_special(std::int32_t id) const { return has(id, kSpecial); }
  bool is_added(std::int32_t id) const { return has(id, kAdded); }
  // Whether the model may make this token from text: it is the model's, and neither special nor a
  // control token. What a user writes can never become one of the others by merging.
  bool is_from_text(std::int32_t id) const {
    return has(id, kModel) && !has(id, kSpecial) && !has(id, kControl);
  }
  std::optional<std::int32_t> find_from_text(std::string_view token) const;

  // Hostile files may declare one token with id 2^31: ids must lie below this for `num_tokens`.
  static constexpr std::size_t max_ids(std::size_t num_tokens) { return 2 * num_tokens + 4096; }

 private:
  enum Kind : std::uint8_t { kModel = 1, kAdded = 2, kSpecial = 4, kControl = 8 };
  bool has(std::int32_t id, Kind kind) const {
    return id >= 0 && id < size() && (kinds_[static_cast<std::size_t>(id)] & kind) != 0;
  }
  Status add_model_tokens(const TokenizerSpec& spec);
  Status add_added_token(const AddedTokenSpec& added, std::size_t max_ids);

  std::vector<std::string> tokens_;
  std::vector<std::uint8_t> kinds_;  // Kind bits; 0 for an id without token
  TokenIndex index_;
};

}  // namespace tutti::text
