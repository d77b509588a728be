// Byte-pair encoding by rank of merges, over bytes or over characters.
//
// Over characters a word may be the whole text (Gemma, Llama 2): it is cut first wherever no merge
// can cross, that is between two characters that stand side by side in no merge. Short words come
// from the cache.
#include <fmt/format.h>

#include <array>
#include <limits>
#include <string>
#include <utility>

#include "text/tokens/flat_map.h"
#include "text/tokens/merge_symbols.h"
#include "text/tokens/token_model.h"
#include "text/tokens/word_cache.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

// Longer words are cut, so that positions fit 32 bits.
constexpr std::size_t kMaxWordBytes = std::size_t{1} << 31;

class BpeModel : public TokenModel {
 public:
  BpeModel(const ModelSpec& spec, const Vocabulary& vocabulary, bool byte_level)
      : vocabulary_(vocabulary),
        unk_id_(spec.unk_id),
        fuse_unk_(spec.fuse_unk),
        ignore_merges_(spec.ignore_merges),
        byte_level_(byte_level),
        prefix_(spec.continuing_subword_prefix),
        suffix_(spec.end_of_word_suffix),
        merges_(spec.merges.size()) {
    if (spec.byte_fallback) byte_tokens_ = ByteTokens(vocabulary);
    byte_fallback_ = spec.byte_fallback;
  }

  Status fill(const ModelSpec& spec) {
    if (unk_id_ && !vocabulary_.contains(*unk_id_)) {
      return invalid_argument("model.unk_token", "the unknown token is not in the vocabulary");
    }
    TUTTI_RETURN_IF_ERROR(fill_merges(spec.merges));
    fill_symbols();
    if (!byte_level_ && !ignore_merges_ && prefix_.empty() && suffix_.empty()) {
      fill_neighbours(spec.merges);
    }
    return {};
  }

  void encode(std::string_view text, std::span<const TextSpan> pieces,
              std::vector<std::int32_t>& ids) const override {
    WordCache cache(splits_words_ ? text.size() / 4 : pieces.size());
    std::vector<Symbol> symbols;
    const auto encode_word = [&](std::string_view word) { append_word(word, symbols, ids); };
    for (const TextSpan piece : pieces) {
      std::string_view rest = text.substr(piece.begin, piece.end - piece.begin);
      while (!rest.empty()) {
        const std::size_t size = splits_words_ ? word_end(rest) : rest.size();
        cache.append(rest.substr(0, std::min(size, kMaxWordBytes)), ids, encode_word);
        rest.remove_prefix(std::min(size, kMaxWordBytes));
      }
    }
  }

 private:
  Status fill_merges(const std::vector<MergeSpec>& merges) {
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const MergeSpec& merge = merges[rank];
      for (const std::int32_t id : {merge.left, merge.right, merge.merged}) {
        if (vocabulary_.contains(id)) continue;
        return invalid_argument("model.merges", fmt::format("merge {} names token {}, which is not "
                                                            "in the vocabulary",
                                                            rank, id));
      }
      if (!vocabulary_.is_from_text(merge.merged)) continue;
      merges_.insert(pair_key(merge.left, merge.right),
                     Merge{static_cast<std::uint32_t>(rank), merge.merged});
    }
    return {};
  }

  void fill_symbols() {
    byte_ids_.fill(-1);
    std::string bytes;
    for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string& token = vocabulary_.token(id);
      if (!vocabulary_.is_from_text(id) || token.empty()) continue;
      if (byte_level_) {
        if (!from_byte_level(token, bytes)) continue;
        if (bytes.size() == 1) byte_ids_[static_cast<unsigned char>(bytes[0])] = id;
        if (ignore_merges_) words_.emplace(bytes, id);
      } else {
        const CharAt first = char_at(token, 0);
        if (static_cast<std::size_t>(first.length) == token.size()) {
          char_ids_.insert(first.character, id);
        }
      }
    }
  }

  // Character pairs that some merge joins. Left out, and words are not cut, when a merge's parts
  // may be symbols that their text does not show (bytes, the unknown token).
  void fill_neighbours(const std::vector<MergeSpec>& merges) {
    for (const MergeSpec& merge : merges) {
      const std::string& left = vocabulary_.token(merge.left);
      const std::string& right = vocabulary_.token(merge.right);
      for (const std::int32_t id : {merge.left, merge.right}) {
        if (id == unk_id_ || parse_byte_token(vocabulary_.token(id)) >= 0) return;
      }
      if (left.empty() || right.empty()) return;
      std::size_t last = left.size() - 1;
      while (last > 0 && (left[last] & 0xC0) == 0x80) --last;
      neighbours_.insert(neighbour_key(char_at(left, last).character, char_at(right, 0).character),
                         true);
    }
    splits_words_ = true;
  }

  static std::uint64_t neighbour_key(char32_t left, char32_t right) {
    return std::uint64_t{left} << 32 | right;
  }

  // The first place in `text` that no merge crosses. Unknown characters stay together, because runs
  // of them may fuse.
  std::size_t word_end(std::string_view text) const {
    CharAt left = char_at(text, 0);
    for (std::size_t end = left.length; end < text.size();) {
      const CharAt right = char_at(text, end);
      if (neighbours_.find(neighbour_key(left.character, right.character)) == nullptr &&
          char_ids_.find(left.character) != nullptr) {
        return end;
      }
      left = right;
      end += right.length;
    }
    return text.size();
  }

  void append_word(std::string_view word, std::vector<Symbol>& symbols,
                   std::vector<std::int32_t>& ids) const {
    if (ignore_merges_) {
      if (const std::optional<std::int32_t> id = find_word(word)) {
        ids.push_back(*id);
        return;
      }
    }
    symbols.clear();
    byte_level_ ? append_byte_symbols(word, symbols) : append_char_symbols(word, symbols);
    merge_symbols(symbols, static_cast<std::uint32_t>(word.size()),
                  [this](const Symbol& left, const Symbol& right, std::uint32_t) {
                    const Merge* merge = merges_.find(pair_key(left.id, right.id));
                    return merge == nullptr ? Merge{} : *merge;
                  });
    for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  }

  std::optional<std::int32_t> find_word(std::string_view word) const {
    if (!byte_level_) return vocabulary_.find_from_text(word);
    const auto entry = words_.find(word);
    if (entry == words_.end()) return std::nullopt;
    return entry->second;
  }

  // An unknown token that has not been added yet, because the next one may fuse with it.
  struct PendingUnknown {
    bool exists = false;
    std::uint32_t begin = 0;
  };

  void add_unknown(std::uint32_t begin, PendingUnknown& pending,
                   std::vector<Symbol>& symbols) const {
    if (!unk_id_) return;  // what has no token is left out
    if (pending.exists && fuse_unk_) return;
    flush_unknown(pending, symbols);
    pending = {true, begin};
  }

  void flush_unknown(PendingUnknown& pending, std::vector<Symbol>& symbols) const {
    if (pending.exists) symbols.push_back({*unk_id_, pending.begin});
    pending.exists = false;
  }

  void append_byte_symbols(std::string_view word, std::vector<Symbol>& symbols) const {
    PendingUnknown unknown;
    for (std::uint32_t i = 0; i < word.size(); ++i) {
      const std::int32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
      if (id < 0) {
        add_unknown(i, unknown, symbols);
        continue;
      }
      flush_unknown(unknown, symbols);
      symbols.push_back({id, i});
    }
    flush_unknown(unknown, symbols);
  }

  std::int32_t char_symbol(std::string_view word, std::size_t begin, CharAt at) const {
    const bool is_first = begin == 0;
    const bool is_last = begin + at.length == word.size();
    if ((is_first || prefix_.empty()) && (!is_last || suffix_.empty())) {
      const std::int32_t* id = char_ids_.find(at.character);
      return id == nullptr ? -1 : *id;
    }
    std::string token = is_first ? std::string() : prefix_;
    token += word.substr(begin, at.length);
    if (is_last) token += suffix_;
    return vocabulary_.find_from_text(token).value_or(-1);
  }

  void append_char_symbols(std::string_view word, std::vector<Symbol>& symbols) const {
    PendingUnknown unknown;
    for (std::size_t begin = 0; begin < word.size();) {
      const CharAt at = char_at(word, begin);
      const auto position = static_cast<std::uint32_t>(begin);
      const std::int32_t id = char_symbol(word, begin, at);
      if (id >= 0) {
        flush_unknown(unknown, symbols);
        symbols.push_back({id, position});
      } else if (!append_byte_tokens(word.substr(begin, at.length), position, symbols)) {
        add_unknown(position, unknown, symbols);
      }
      begin += at.length;
    }
    flush_unknown(unknown, symbols);
  }

  bool append_byte_tokens(std::string_view bytes, std::uint32_t begin,
                          std::vector<Symbol>& symbols) const {
    if (!byte_fallback_) return false;
    for (const char byte : bytes) {
      if (byte_tokens_.id(static_cast<unsigned char>(byte)) < 0) return false;
    }
    for (const char byte : bytes) {
      symbols.push_back({byte_tokens_.id(static_cast<unsigned char>(byte)), begin++});
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  std::optional<std::int32_t> unk_id_;
  bool fuse_unk_;
  bool ignore_merges_;
  bool byte_level_;
  bool byte_fallback_ = false;
  bool splits_words_ = false;
  std::string prefix_;
  std::string suffix_;
  ByteTokens byte_tokens_;
  FlatMap<Merge> merges_;                   // by pair_key
  std::array<std::int32_t, 256> byte_ids_;  // byte level; -1: no token
  FlatMap<std::int32_t> char_ids_;          // otherwise
  FlatMap<bool> neighbours_;                // by neighbour_key
  TokenIndex words_;                        // byte level and ignore_merges: tokens by their bytes
};

}  // namespace

Result<std::unique_ptr<TokenModel>> make_bpe_model(const ModelSpec& spec,
                                                   const Vocabulary& vocabulary, bool byte_level) {
  if (byte_level && !(spec.continuing_subword_prefix.empty() && spec.end_of_word_suffix.empty())) {
    return unsupported(
        "model: continuing_subword_prefix and end_of_word_suffix together with ByteLevel are not "
        "supported",
        "model");
  }
  auto model = std::make_unique<BpeModel>(spec, vocabulary, byte_level);
  TUTTI_RETURN_IF_ERROR(model->fill(spec));
  return std::unique_ptr<TokenModel>(std::move(model));
}

}  // namespace tutti::text
