#include "text/tokens/vocabulary.h"

#include <fmt/format.h>

#include "text/unicode.h"

namespace tutti::text {

Result<Vocabulary> Vocabulary::create(const TokenizerSpec& spec) {
  Vocabulary vocabulary;
  TUTTI_RETURN_IF_ERROR(vocabulary.add_model_tokens(spec));
  const std::size_t limit = max_ids(vocabulary.index_.size() + spec.added_tokens.size());
  for (const AddedTokenSpec& added : spec.added_tokens) {
    TUTTI_RETURN_IF_ERROR(vocabulary.add_added_token(added, limit));
  }
  for (const std::int32_t id : spec.control_ids) {
    if (id < 0 || id >= vocabulary.size()) {
      return invalid_argument(
          "vocab", fmt::format("control token {} is not in [0, {})", id, vocabulary.size()));
    }
    vocabulary.kinds_[static_cast<std::size_t>(id)] |= kControl;
  }
  return vocabulary;
}

Status Vocabulary::add_model_tokens(const TokenizerSpec& spec) {
  tokens_.resize(spec.vocab.size());
  kinds_.resize(spec.vocab.size());
  index_.reserve(spec.vocab.size() + spec.added_tokens.size());
  for (std::size_t id = 0; id < spec.vocab.size(); ++id) {
    if (!spec.vocab[id]) continue;
    const std::string& token = *spec.vocab[id];
    if (!is_valid_utf8(token)) {
      return invalid_argument("vocab", fmt::format("token {} is not valid UTF-8", id));
    }
    const auto [entry, is_new] = index_.emplace(token, static_cast<std::int32_t>(id));
    if (!is_new) {
      return invalid_argument(
          "vocab", fmt::format("token {:?} has two ids, {} and {}", token, entry->second, id));
    }
    tokens_[id] = token;
    kinds_[id] = kModel;
  }
  return {};
}

Status Vocabulary::add_added_token(const AddedTokenSpec& added, std::size_t max_ids) {
  if (added.id < 0 || static_cast<std::size_t>(added.id) >= max_ids) {
    return invalid_argument(
        "added_tokens", fmt::format("added token {:?} has id {}; ids lie in [0, {})", added.content,
                                    added.id, max_ids));
  }
  if (!is_valid_utf8(added.content)) {
    return invalid_argument("added_tokens",
                            fmt::format("added token {} is not valid UTF-8", added.id));
  }
  const auto id = static_cast<std::size_t>(added.id);
  if (id >= tokens_.size()) {
    tokens_.resize(id + 1);
    kinds_.resize(id + 1);
  }
  if (kinds_[id] != 0 && tokens_[id] != added.content) {
    return invalid_argument("added_tokens",
                            fmt::format("added token {:?} has id {}, which is token {:?}",
                                        added.content, added.id, tokens_[id]));
  }
  const auto [entry, is_new] = index_.emplace(added.content, added.id);
  if (!is_new && entry->second != added.id) {
    return invalid_argument("added_tokens", fmt::format("added token {:?} has two ids, {} and {}",
                                                        added.content, entry->second, added.id));
  }
  tokens_[id] = added.content;
  kinds_[id] |= static_cast<std::uint8_t>(added.special ? kAdded | kSpecial : kAdded);
  return {};
}

const std::string& Vocabulary::token(std::int32_t id) const {
  static const std::string kEmpty;
  return id >= 0 && id < size() ? tokens_[static_cast<std::size_t>(id)] : kEmpty;
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  const auto entry = index_.find(token);
  if (entry == index_.end()) return std::nullopt;
  return entry->second;
}

std::optional<std::int32_t> Vocabulary::find_from_text(std::string_view token) const {
  const std::optional<std::int32_t> id = find(token);
  return id && is_from_text(*id) ? id : std::nullopt;
}

}  // namespace tutti::text
