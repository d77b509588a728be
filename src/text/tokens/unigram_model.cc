// Unigram language model: the segmentation with the highest sum of scores (Kudo 2018), by Viterbi.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "text/tokens/byte_trie.h"
#include "text/tokens/token_model.h"
#include "text/tokens/word_cache.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

// An unknown character scores this much less than the worst token.
constexpr double kUnknownPenalty = 10.0;

class UnigramModel : public TokenModel {
 public:
  UnigramModel(const ModelSpec& spec, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), unk_id_(spec.unk_id), scores_(spec.scores) {
    if (spec.byte_fallback) byte_tokens_ = ByteTokens(vocabulary);
  }

  Status fill() {
    if (scores_.size() < static_cast<std::size_t>(vocabulary_.size())) {
      scores_.resize(static_cast<std::size_t>(vocabulary_.size()), 0.0);
    }
    if (unk_id_ && !vocabulary_.contains(*unk_id_)) {
      return invalid_argument(
          "model.unk_id", fmt::format("unk_id {} is not in [0, {})", *unk_id_, vocabulary_.size()));
    }
    double min_score = 0;
    for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
      const double score = scores_[static_cast<std::size_t>(id)];
      if (!std::isfinite(score)) {
        return invalid_argument("model.vocab",
                                fmt::format("the score of token {} is not finite", id));
      }
      min_score = std::min(min_score, score);
      const std::string& token = vocabulary_.token(id);
      if (vocabulary_.is_from_text(id) && id != unk_id_ && !token.empty()) trie_.insert(token, id);
    }
    unknown_score_ = min_score - kUnknownPenalty;
    return {};
  }

  void encode(std::string_view text, std::span<const TextSpan> pieces,
              std::vector<std::int32_t>& ids) const override {
    WordCache cache(pieces.size());
    std::vector<Node> nodes;
    const auto encode_word = [&](std::string_view word) { append_word(word, nodes, ids); };
    for (const TextSpan piece : pieces) {
      if (piece.begin == piece.end) continue;
      cache.append(text.substr(piece.begin, piece.end - piece.begin), ids, encode_word);
    }
  }

 private:
  static constexpr std::int32_t kUnknown = -1;

  // The best way to reach a byte.
  struct Node {
    double score = 0;
    std::uint32_t token_size = 0;  // bytes of the last token; 0: not reached
    std::int32_t id = kUnknown;
  };

  static void relax(Node& node, double score, std::size_t token_size, std::int32_t id) {
    if (node.token_size != 0 && score <= node.score) return;
    node = {score, static_cast<std::uint32_t>(token_size), id};
  }

  void find_best_path(std::string_view word, std::vector<Node>& nodes) const {
    nodes.assign(word.size() + 1, Node{});
    for (std::size_t begin = 0; begin < word.size();) {
      const double score = nodes[begin].score;
      const auto char_size = static_cast<std::size_t>(char_at(word, begin).length);
      bool has_single = false;
      std::int32_t trie_node = ByteTrie::kRoot;
      for (std::size_t end = begin; end < word.size();) {
        trie_node = trie_.child(trie_node, word[end]);
        if (trie_node == ByteTrie::kNoNode) break;
        ++end;
        const std::int32_t id = trie_.value(trie_node);
        if (id == ByteTrie::kNoValue) continue;
        relax(nodes[end], score + scores_[static_cast<std::size_t>(id)], end - begin, id);
        has_single = has_single || end - begin == char_size;
      }
      if (!has_single) {
        relax(nodes[begin + char_size], score + unknown_score_, char_size, kUnknown);
      }
      begin += char_size;
    }
  }

  void append_word(std::string_view word, std::vector<Node>& nodes,
                   std::vector<std::int32_t>& ids) const {
    find_best_path(word, nodes);
    std::vector<TextSpan> spans;  // of the path, last first; runs of unknown ones are one
    std::vector<std::int32_t> path_ids;
    for (std::size_t end = word.size(); end > 0;) {
      const Node& node = nodes[end];
      const std::size_t begin = end - node.token_size;
      if (node.id == kUnknown && !path_ids.empty() && path_ids.back() == kUnknown) {
        spans.back().begin = begin;
      } else {
        spans.push_back({begin, end});
        path_ids.push_back(node.id);
      }
      end = begin;
    }
    for (std::size_t i = spans.size(); i-- > 0;) {
      if (path_ids[i] != kUnknown) {
        ids.push_back(path_ids[i]);
        continue;
      }
      const std::string_view unknown = word.substr(spans[i].begin, spans[i].end - spans[i].begin);
      if (!byte_tokens_.append(unknown, ids) && unk_id_) ids.push_back(*unk_id_);
    }
  }

  const Vocabulary& vocabulary_;
  std::optional<std::int32_t> unk_id_;
  std::vector<double> scores_;  // by token id
  double unknown_score_ = 0;
  ByteTokens byte_tokens_;
  ByteTrie trie_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> make_unigram_model(const ModelSpec& spec,
                                                       const Vocabulary& vocabulary) {
  auto model = std::make_unique<UnigramModel>(spec, vocabulary);
  TUTTI_RETURN_IF_ERROR(model->fill());
  return std::unique_ptr<TokenModel>(std::move(model));
}

}  // namespace tutti::text
