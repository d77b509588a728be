// SentencePiece's byte-pair encoding: any two neighbours that together spell a token merge, the
// token with the highest score first, leftmost of equal score (sentencepiece/src/bpe_model.cc).
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "text/tokens/flat_map.h"
#include "text/tokens/merge_symbols.h"
#include "text/tokens/token_model.h"
#include "text/tokens/word_cache.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

class ScoreBpeModel : public TokenModel {
 public:
  ScoreBpeModel(const ModelSpec& spec, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), unk_id_(spec.unk_id), fuse_unk_(spec.fuse_unk) {
    if (spec.byte_fallback) byte_tokens_ = ByteTokens(vocabulary);
  }

  Status fill(const ModelSpec& spec) {
    if (spec.scores.size() < static_cast<std::size_t>(vocabulary_.size())) {
      return invalid_argument(
          "scores", fmt::format("{} scores for {} tokens", spec.scores.size(), vocabulary_.size()));
    }
    if (unk_id_ && !vocabulary_.contains(*unk_id_)) {
      return invalid_argument("unk", "the unknown token is not in the vocabulary");
    }
    fill_ranks(spec.scores);
    for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
      if (!is_mergeable(id)) continue;
      const std::string& token = vocabulary_.token(id);
      longest_token_ = std::max(longest_token_, token.size());
      char32_t previous = 0;
      for_each_char(token, [&](char32_t character, std::size_t begin, int length) {
        if (begin > 0) neighbours_.insert(neighbour_key(previous, character), true);
        if (static_cast<std::size_t>(length) == token.size()) known_chars_.insert(character, true);
        previous = character;
      });
    }
    return {};
  }

  void encode(std::string_view text, std::span<const TextSpan> pieces,
              std::vector<std::int32_t>& ids) const override {
    WordCache cache(text.size() / 4);
    std::vector<Symbol> symbols;
    const auto encode_word = [&](std::string_view word) { append_word(word, symbols, ids); };
    for (const TextSpan piece : pieces) {
      std::string_view rest = text.substr(piece.begin, piece.end - piece.begin);
      while (!rest.empty()) {
        const std::size_t size = word_end(rest);
        cache.append(rest.substr(0, size), ids, encode_word);
        rest.remove_prefix(size);
      }
    }
  }

 private:
  static std::uint64_t neighbour_key(char32_t left, char32_t right) {
    return std::uint64_t{left} << 32 | right;
  }

  bool is_mergeable(std::int32_t id) const {
    return vocabulary_.is_from_text(id) && id != unk_id_ &&
           parse_byte_token(vocabulary_.token(id)) < 0;
  }

  // rank 0 for the highest score, the same rank for the same score.
  void fill_ranks(const std::vector<double>& scores) {
    std::vector<double> distinct(scores.begin(), scores.begin() + vocabulary_.size());
    std::sort(distinct.begin(), distinct.end(), std::greater<>());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    ranks_.resize(static_cast<std::size_t>(vocabulary_.size()));
    for (std::size_t id = 0; id < ranks_.size(); ++id) {
      const auto found =
          std::lower_bound(distinct.begin(), distinct.end(), scores[id], std::greater<>());
      ranks_[id] = static_cast<std::uint32_t>(found - distinct.begin());
    }
  }

  // The first place in `text` that lies inside no token. Characters without a token stay together
  // with what follows, because runs of them may fuse.
  std::size_t word_end(std::string_view text) const {
    CharAt left = char_at(text, 0);
    for (std::size_t end = left.length; end < text.size();) {
      const CharAt right = char_at(text, end);
      if (neighbours_.find(neighbour_key(left.character, right.character)) == nullptr &&
          known_chars_.find(left.character) != nullptr) {
        return end;
      }
      left = right;
      end += right.length;
    }
    return text.size();
  }

  Merge find_merge(std::string_view merged) const {
    if (merged.size() > longest_token_) return {};
    const std::optional<std::int32_t> id = vocabulary_.find(merged);
    if (!id || !is_mergeable(*id)) return {};
    return {ranks_[static_cast<std::size_t>(*id)], *id};
  }

  void append_word(std::string_view word, std::vector<Symbol>& symbols,
                   std::vector<std::int32_t>& ids) const {
    symbols.clear();
    for_each_char(word, [&](char32_t, std::size_t begin, int length) {
      const Merge single = find_merge(word.substr(begin, length));
      symbols.push_back({single.id, static_cast<std::uint32_t>(begin)});
    });
    merge_symbols(symbols, static_cast<std::uint32_t>(word.size()),
                  [&](const Symbol& left, const Symbol&, std::uint32_t right_end) {
                    return find_merge(word.substr(left.begin, right_end - left.begin));
                  });
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i].id >= 0) {
        ids.push_back(symbols[i].id);
        continue;
      }
      const std::size_t end = i + 1 < symbols.size() ? symbols[i + 1].begin : word.size();
      if (byte_tokens_.append(word.substr(symbols[i].begin, end - symbols[i].begin), ids)) continue;
      if (!unk_id_ || (fuse_unk_ && i > 0 && symbols[i - 1].id < 0)) continue;
      ids.push_back(*unk_id_);
    }
  }

  const Vocabulary& vocabulary_;
  std::optional<std::int32_t> unk_id_;
  bool fuse_unk_;
  ByteTokens byte_tokens_;
  std::vector<std::uint32_t> ranks_;  // by token id
  std::size_t longest_token_ = 0;     // bytes
  FlatMap<bool> known_chars_;         // characters that are a token
  FlatMap<bool> neighbours_;          // characters that stand side by side in a token
};

}  // namespace

Result<std::unique_ptr<TokenModel>> make_score_bpe_model(const ModelSpec& spec,
                                                         const Vocabulary& vocabulary) {
  auto model = std::make_unique<ScoreBpeModel>(spec, vocabulary);
  TUTTI_RETURN_IF_ERROR(model->fill(spec));
  return std::unique_ptr<TokenModel>(std::move(model));
}

}  // namespace tutti::text
