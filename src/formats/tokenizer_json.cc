#include "formats/tokenizer_json.h"

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "formats/json_fields.h"
#include "formats/tokenizer_components.h"
#include "text/tokens/vocabulary.h"

namespace tutti::formats {
namespace {

using text::ModelKind;
using text::TokenIndex;

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

// Reads the "model" of a tokenizer.json.
class ModelReader {
 public:
  ModelReader(const json::object& model, text::TokenizerSpec& spec)
      : fields_(model, "model"), spec_(spec) {}

  Status read() {
    TUTTI_ASSIGN_OR_RETURN(const std::string type, model_type());
    TUTTI_ASSIGN_OR_RETURN(spec_.model.byte_fallback, fields_.bool_or("byte_fallback", false));
    if (type == "BPE") return read_bpe();
    if (type == "Unigram") return read_unigram();
    if (type == "WordPiece") return read_word_piece();
    return unsupported(fmt::format("model: type {:?} is not supported", type), "model.type");
  }

 private:
  // Older files leave the type out.
  Result<std::string> model_type() const {
    TUTTI_ASSIGN_OR_RETURN(std::optional<std::string> type, fields_.get_string("type"));
    if (type) return std::move(*type);
    if (fields_.find("merges") != nullptr) return std::string("BPE");
    const json::value* vocab = fields_.find("vocab");
    return std::string(vocab != nullptr && vocab->is_array() ? "Unigram" : "WordPiece");
  }

  Status read_bpe() {
    text::ModelSpec& model = spec_.model;
    model.kind = ModelKind::kBpe;
    if (const json::value* dropout = fields_.find("dropout");
        dropout != nullptr && !(dropout->is_number() && dropout->to_number<double>() == 0.0)) {
      return unsupported("model.dropout: random merges are not supported", "model.dropout");
    }
    TUTTI_ASSIGN_OR_RETURN(model.fuse_unk, fields_.bool_or("fuse_unk", false));
    TUTTI_ASSIGN_OR_RETURN(model.ignore_merges, fields_.bool_or("ignore_merges", false));
    TUTTI_ASSIGN_OR_RETURN(model.continuing_subword_prefix,
                           fields_.string_or("continuing_subword_prefix", ""));
    TUTTI_ASSIGN_OR_RETURN(model.end_of_word_suffix, fields_.string_or("end_of_word_suffix", ""));
    TUTTI_RETURN_IF_ERROR(read_vocab_object());
    TUTTI_RETURN_IF_ERROR(read_unk_token());
    return read_merges();
  }

  Status read_word_piece() {
    text::ModelSpec& model = spec_.model;
    model.kind = ModelKind::kWordPiece;
    TUTTI_ASSIGN_OR_RETURN(model.continuing_subword_prefix,
                           fields_.string_or("continuing_subword_prefix", "##"));
    constexpr std::int64_t kMaxWord = 1 << 20;
    TUTTI_ASSIGN_OR_RETURN(const auto max_chars,
                           fields_.get_int("max_input_chars_per_word", 0, kMaxWord));
    model.max_input_chars_per_word = static_cast<int>(max_chars.value_or(100));
    TUTTI_RETURN_IF_ERROR(read_vocab_object());
    return read_unk_token();
  }

  Status read_unigram() {
    text::ModelSpec& model = spec_.model;
    model.kind = ModelKind::kUnigram;
    TUTTI_ASSIGN_OR_RETURN(const json::array* vocab, fields_.require_array("vocab"));
    for (std::size_t i = 0; i < vocab->size(); ++i) {
      const json::array* entry = (*vocab)[i].if_array();
      if (entry == nullptr || entry->size() != 2 || !(*entry)[0].is_string() ||
          !(*entry)[1].is_number()) {
        return fields_.wrong(fmt::format("vocab[{}]", i), "a token and its score");
      }
      spec_.vocab.emplace_back(std::string(std::string_view((*entry)[0].get_string())));
      model.scores.push_back((*entry)[1].to_number<double>());
    }
    TUTTI_ASSIGN_OR_RETURN(
        const auto unk_id,
        fields_.get_int("unk_id", 0, static_cast<std::int64_t>(vocab->size()) - 1));
    if (unk_id) model.unk_id = static_cast<std::int32_t>(*unk_id);
    return {};
  }

  Status read_vocab_object() {
    TUTTI_ASSIGN_OR_RETURN(const json::object* vocab, fields_.require_object("vocab"));
    const auto limit = static_cast<std::int64_t>(text::Vocabulary::max_ids(vocab->size()));
    index_.reserve(vocab->size());
    for (const auto& [token, value] : *vocab) {
      const std::optional<std::int64_t> id = int_in_range(value, 0, limit - 1);
      if (!id) {
        return corrupt(fmt::format("model.vocab[{:?}]: an id in [0, {}) is expected",
                                   std::string_view(token), limit));
      }
      const auto position = static_cast<std::size_t>(*id);
      if (position >= spec_.vocab.size()) spec_.vocab.resize(position + 1);
      if (spec_.vocab[position]) {
        return corrupt(fmt::format("model.vocab: tokens {:?} and {:?} both have id {}",
                                   *spec_.vocab[position], std::string_view(token), *id));
      }
      spec_.vocab[position] = std::string(std::string_view(token));
      index_.emplace(std::string_view(token), static_cast<std::int32_t>(*id));
    }
    return {};
  }

  Status read_unk_token() {
    TUTTI_ASSIGN_OR_RETURN(const std::optional<std::string> token, fields_.get_string("unk_token"));
    if (!token) return {};
    const auto entry = index_.find(*token);
    // A token that is named and missing matters only once an unknown character comes; there, as in
    // a model without one, the character is left out.
    if (entry != index_.end()) spec_.model.unk_id = entry->second;
    return {};
  }

  Result<std::int32_t> token_id(std::string_view token, std::size_t merge_index) const {
    const auto entry = index_.find(token);
    if (entry == index_.end()) {
      return corrupt(
          fmt::format("model.merges[{}]: {:?} is not in the vocabulary", merge_index, token));
    }
    return entry->second;
  }

  // ["a", "b"] or "a b".
  Result<std::pair<std::string_view, std::string_view>> merge_parts(const json::value& value,
                                                                    std::size_t index) const {
    if (const json::array* pair = value.if_array()) {
      if (pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_string()) {
        return std::pair(std::string_view((*pair)[0].get_string()),
                         std::string_view((*pair)[1].get_string()));
      }
    } else if (const json::string* string = value.if_string()) {
      const std::string_view line(*string);
      const std::size_t space = line.find(' ');
      if (space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos) {
        return std::pair(line.substr(0, space), line.substr(space + 1));
      }
    }
    return fields_.wrong(fmt::format("merges[{}]", index), "two tokens");
  }

  Status read_merges() {
    TUTTI_ASSIGN_OR_RETURN(const json::array* merges, fields_.require_array("merges"));
    const std::size_t prefix_size = spec_.model.continuing_subword_prefix.size();
    spec_.model.merges.reserve(merges->size());
    for (std::size_t i = 0; i < merges->size(); ++i) {
      TUTTI_ASSIGN_OR_RETURN(const auto parts, merge_parts((*merges)[i], i));
      if (parts.second.size() < prefix_size) {
        return fields_.wrong(fmt::format("merges[{}]", i), "a second token with the prefix");
      }
      text::MergeSpec merge;
      TUTTI_ASSIGN_OR_RETURN(merge.left, token_id(parts.first, i));
      TUTTI_ASSIGN_OR_RETURN(merge.right, token_id(parts.second, i));
      std::string merged(parts.first);
      merged += parts.second.substr(prefix_size);
      TUTTI_ASSIGN_OR_RETURN(merge.merged, token_id(merged, i));
      spec_.model.merges.push_back(merge);
    }
    return {};
  }

  JsonFields fields_;
  text::TokenizerSpec& spec_;
  TokenIndex index_;
};

Status read_added_token(const JsonFields& fields, text::TokenizerSpec& spec) {
  text::AddedTokenSpec token;
  TUTTI_ASSIGN_OR_RETURN(token.content, fields.require_string("content"));
  TUTTI_ASSIGN_OR_RETURN(const auto id, fields.get_int("id", 0, kMaxTokenId));
  if (!id) return fields.wrong("id", "a token id");
  token.id = static_cast<std::int32_t>(*id);
  TUTTI_ASSIGN_OR_RETURN(token.special, fields.bool_or("special", false));
  TUTTI_ASSIGN_OR_RETURN(token.single_word, fields.bool_or("single_word", false));
  TUTTI_ASSIGN_OR_RETURN(token.lstrip, fields.bool_or("lstrip", false));
  TUTTI_ASSIGN_OR_RETURN(token.rstrip, fields.bool_or("rstrip", false));
  TUTTI_ASSIGN_OR_RETURN(token.normalized, fields.bool_or("normalized", !token.special));
  spec.added_tokens.push_back(std::move(token));
  return {};
}

Status read_added_tokens(const JsonFields& root, text::TokenizerSpec& spec) {
  if (root.find("added_tokens") == nullptr) return {};
  TUTTI_ASSIGN_OR_RETURN(const json::array* tokens, root.require_array("added_tokens"));
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const std::string path = fmt::format("added_tokens[{}]", i);
    if (!(*tokens)[i].is_object()) return corrupt(path + ": an object is expected");
    TUTTI_RETURN_IF_ERROR(read_added_token(JsonFields((*tokens)[i].get_object(), path), spec));
  }
  return {};
}

// A special token in tokenizer_config.json is a string or an added token.
Result<std::optional<std::string>> read_token_name(const JsonFields& config, std::string_view key) {
  const json::value* value = config.find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (value->is_object()) {
    const JsonFields fields(value->get_object(), fmt::format("{}.{}", config.path(), key));
    return fields.get_string("content");
  }
  return config.get_string(key);
}

// Named tokens are special even where tokenizer.json says nothing of it.
void mark_special(const std::optional<std::string>& name, text::TokenizerSpec& spec) {
  if (!name || name->empty()) return;
  for (text::AddedTokenSpec& added : spec.added_tokens) {
    if (added.content != *name) continue;
    added.special = true;
    return;
  }
  const auto found = std::find(spec.vocab.begin(), spec.vocab.end(), name);
  if (found == spec.vocab.end()) return;
  text::AddedTokenSpec token;
  token.id = static_cast<std::int32_t>(found - spec.vocab.begin());
  token.content = *name;
  token.special = true;
  spec.added_tokens.push_back(std::move(token));
}

Status read_config(const json::object& object, text::TokenizerSpec& spec) {
  const JsonFields config(object, "tokenizer_config");
  TUTTI_ASSIGN_OR_RETURN(spec.bos_token, read_token_name(config, "bos_token"));
  TUTTI_ASSIGN_OR_RETURN(spec.eos_token, read_token_name(config, "eos_token"));
  TUTTI_ASSIGN_OR_RETURN(spec.unk_token, read_token_name(config, "unk_token"));
  TUTTI_ASSIGN_OR_RETURN(spec.pad_token, read_token_name(config, "pad_token"));
  for (const auto* name : {&spec.bos_token, &spec.eos_token, &spec.unk_token, &spec.pad_token}) {
    mark_special(*name, spec);
  }
  return {};
}

}  // namespace

Result<text::TokenizerSpec> parse_tokenizer_json(std::string_view bytes,
                                                 const json::object& config) {
  JsonLimits limits;
  limits.max_bytes = kMaxBytes;
  TUTTI_ASSIGN_OR_RETURN(const json::value parsed, parse_json(bytes, limits));
  if (!parsed.is_object()) return corrupt("an object is expected");
  const JsonFields root(parsed.get_object(), "");
  text::TokenizerSpec spec;
  TUTTI_ASSIGN_OR_RETURN(const json::object* model, root.require_object("model"));
  TUTTI_RETURN_IF_ERROR(ModelReader(*model, spec).read());
  TUTTI_RETURN_IF_ERROR(read_added_tokens(root, spec));
  using ReadComponent = Status (*)(const json::value&, text::TokenizerSpec&);
  constexpr std::pair<std::string_view, ReadComponent> kComponents[] = {
      {"normalizer", read_normalizer},
      {"pre_tokenizer", read_pre_tokenizer},
      {"decoder", read_decoder},
      {"post_processor", read_post_processor},
  };
  for (const auto& [key, read] : kComponents) {
    const json::value* value = root.find(key);
    if (value != nullptr) TUTTI_RETURN_IF_ERROR(read(*value, spec));
  }
  TUTTI_RETURN_IF_ERROR(read_config(config, spec));
  return spec;
}

}  // namespace tutti::formats
