// WordPiece: the longest token that begins the word, then the longest "##" token, and so on; a word
// that cannot be spelled that way is the unknown token.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "text/tokens/byte_trie.h"
#include "text/tokens/token_model.h"
#include "text/tokens/word_cache.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

class WordPieceModel : public TokenModel {
 public:
  WordPieceModel(const ModelSpec& spec, const Vocabulary& vocabulary)
      : unk_id_(spec.unk_id.value_or(-1)),
        max_chars_(static_cast<std::size_t>(std::max(spec.max_input_chars_per_word, 0))) {
    const std::string& prefix = spec.continuing_subword_prefix;
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
      const std::string& token = vocabulary.token(id);
      if (!vocabulary.is_from_text(id)) continue;
      if (!token.empty()) first_.insert(token, id);
      if (token.size() > prefix.size() && token.starts_with(prefix)) {
        continuing_.insert(std::string_view(token).substr(prefix.size()), id);
      }
    }
  }

  void encode(std::string_view text, std::span<const TextSpan> pieces,
              std::vector<std::int32_t>& ids) const override {
    WordCache cache(pieces.size());
    const auto encode_word = [&](std::string_view word) { append_word(word, ids); };
    for (const TextSpan piece : pieces) {
      if (piece.begin == piece.end) continue;
      cache.append(text.substr(piece.begin, piece.end - piece.begin), ids, encode_word);
    }
  }

 private:
  struct Found {
    std::size_t size = 0;
    std::int32_t id = -1;
  };
  static Found longest(const ByteTrie& trie, std::string_view text) {
    Found best;
    std::int32_t node = ByteTrie::kRoot;
    for (std::size_t end = 0; end < text.size();) {
      node = trie.child(node, text[end]);
      if (node == ByteTrie::kNoNode) break;
      ++end;
      if (trie.value(node) != ByteTrie::kNoValue) best = {end, trie.value(node)};
    }
    return best;
  }

  void append_word(std::string_view word, std::vector<std::int32_t>& ids) const {
    const std::size_t old_size = ids.size();
    const auto is_char_begin = [](char c) { return (c & 0xC0) != 0x80; };
    bool is_known = static_cast<std::size_t>(
                        std::count_if(word.begin(), word.end(), is_char_begin)) <= max_chars_;
    for (std::string_view rest = word; is_known && !rest.empty();) {
      const Found found = longest(rest.size() == word.size() ? first_ : continuing_, rest);
      is_known = found.size > 0;
      ids.push_back(found.id);
      rest.remove_prefix(found.size);
    }
    if (is_known) return;
    ids.resize(old_size);
    ids.push_back(unk_id_);
  }

  std::int32_t unk_id_;
  std::size_t max_chars_;
  ByteTrie first_;
  ByteTrie continuing_;  // without their prefix
};

}  // namespace

Result<std::unique_ptr<TokenModel>> make_word_piece_model(const ModelSpec& spec,
                                                          const Vocabulary& vocabulary) {
  if (!spec.unk_id || !vocabulary.contains(*spec.unk_id)) {
    return invalid_argument("model.unk_token",
                            "WordPiece needs an unknown token that is in the vocabulary");
  }
  return std::unique_ptr<TokenModel>(std::make_unique<WordPieceModel>(spec, vocabulary));
}

}  // namespace tutti::text
