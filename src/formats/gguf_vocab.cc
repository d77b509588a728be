#include "formats/gguf_vocab.h"

#include <fmt/format.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "formats/gguf_pre_tokenizers.h"
#include "text/tokens/token_model.h"
#include "text/tokens/vocabulary.h"

namespace tutti::formats {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

namespace normalizer = text::normalizer;
namespace pre_tokenizer = text::pre_tokenizer;
namespace decoder = text::decoder;

enum TokenType : std::int64_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

class VocabReader {
 public:
  explicit VocabReader(const GgufFile& file) : file_(file) {}

  Result<text::TokenizerSpec> read() {
    TUTTI_ASSIGN_OR_RETURN(const std::string_view model, file_.get_string(key("model")));
    TUTTI_ASSIGN_OR_RETURN(tokens_, file_.get_strings(key("tokens")));
    if (tokens_.empty() || tokens_.size() > std::numeric_limits<std::int32_t>::max()) {
      return fail("tokens", fmt::format("{} tokens", tokens_.size()));
    }
    TUTTI_RETURN_IF_ERROR(read_types());
    TUTTI_RETURN_IF_ERROR(read_tokens(model == "bert"));
    TUTTI_RETURN_IF_ERROR(read_named_tokens());
    if (model == "llama") {
      TUTTI_RETURN_IF_ERROR(read_sentence_piece());
    } else if (model == "gpt2") {
      TUTTI_RETURN_IF_ERROR(read_byte_level());
    } else if (model == "gemma4") {
      TUTTI_RETURN_IF_ERROR(read_character_bpe());
    } else if (model == "bert") {
      TUTTI_RETURN_IF_ERROR(read_word_piece());
    } else {
      return unsupported(fmt::format("{}: tokenizer.ggml.model {:?} is not supported; llama, gpt2, "
                                     "gemma4 and bert are",
                                     file_.name(), model),
                         "tokenizer.ggml.model");
    }
    return std::move(spec_);
  }

 private:
  Status fail(std::string_view name, std::string_view why) const {
    return corrupt(fmt::format("{}: key \"tokenizer.ggml.{}\": {}", file_.name(), name, why));
  }

  TokenType type(std::size_t id) const {
    return types_.empty() ? kNormal : static_cast<TokenType>(types_[id]);
  }

  Status read_types() {
    if (!file_.has(key("token_type"))) return {};
    TUTTI_ASSIGN_OR_RETURN(types_, file_.get_ints(key("token_type")));
    if (types_.size() != tokens_.size()) {
      return fail("token_type",
                  fmt::format("{} types for {} tokens", types_.size(), tokens_.size()));
    }
    for (std::size_t id = 0; id < types_.size(); ++id) {
      if (types_[id] < kUndefined || types_[id] > kByte) {
        return fail("token_type",
                    fmt::format("token {} has type {}, must be in [0, 6]", id, types_[id]));
      }
      if (types_[id] == kByte && text::parse_byte_token(tokens_[id]) < 0) {
        return fail("tokens", fmt::format("token {} is {:?}, must be <0x00> to <0xFF> by its type",
                                          id, tokens_[id]));
      }
    }
    return {};
  }

  // WordPiece in GGUF marks what begins a word, not what goes on.
  std::string token_text(std::size_t id, bool is_word_piece) const {
    const std::string_view token = tokens_[id];
    if (!is_word_piece || type(id) == kControl || type(id) == kUnknown) return std::string(token);
    if (token.starts_with(kSpaceMark)) return std::string(token.substr(kSpaceMark.size()));
    return token.empty() ? std::string() : "##" + std::string(token);
  }

  Status read_tokens(bool is_word_piece) {
    spec_.vocab.resize(tokens_.size());
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      std::string token = token_text(id, is_word_piece);
      if (token.empty()) continue;
      const auto token_id = static_cast<std::int32_t>(id);
      const auto [entry, is_new] = index_.emplace(token, token_id);
      if (!is_new) {
        return fail("tokens",
                    fmt::format("token {:?} has two ids, {} and {}", token, entry->second, id));
      }
      const TokenType token_type = type(id);
      const bool is_special = token_type == kControl || token_type == kUnknown;
      if (is_special || token_type == kUserDefined) {
        text::AddedTokenSpec added;
        added.id = token_id;
        added.content = token;
        added.special = is_special;
        spec_.added_tokens.push_back(std::move(added));
      }
      spec_.vocab[id] = std::move(token);
    }
    return {};
  }

  // The id under a key, which may be absent.
  Result<std::optional<std::int32_t>> token_id(std::string_view name) const {
    if (!file_.has(key(name))) return std::optional<std::int32_t>();
    TUTTI_ASSIGN_OR_RETURN(const std::uint64_t id, file_.get_uint(key(name)));
    if (id == std::numeric_limits<std::uint32_t>::max()) return std::optional<std::int32_t>();
    if (id >= tokens_.size() || !spec_.vocab[id]) {
      return fail(name, fmt::format("is {}, must be a token in [0, {})", id, tokens_.size()));
    }
    return std::optional<std::int32_t>(static_cast<std::int32_t>(id));
  }

  std::optional<std::string> token_name(std::optional<std::int32_t> id) const {
    return id ? spec_.vocab[static_cast<std::size_t>(*id)] : std::nullopt;
  }

  Status read_named_tokens() {
    TUTTI_ASSIGN_OR_RETURN(bos_id_, token_id("bos_token_id"));
    TUTTI_ASSIGN_OR_RETURN(eos_id_, token_id("eos_token_id"));
    TUTTI_ASSIGN_OR_RETURN(spec_.model.unk_id, token_id("unknown_token_id"));
    TUTTI_ASSIGN_OR_RETURN(const auto pad_id, token_id("padding_token_id"));
    spec_.bos_token = token_name(bos_id_);
    spec_.eos_token = token_name(eos_id_);
    spec_.unk_token = token_name(spec_.model.unk_id);
    spec_.pad_token = token_name(pad_id);
    return {};
  }

  Result<bool> flag(std::string_view name, bool fallback) const {
    if (!file_.has(key(name))) return fallback;
    return file_.get_bool(key(name));
  }

  // $A with the start and end tokens that the file wants, and $A … $B for two texts.
  Status read_template(bool adds_bos, bool adds_eos) {
    TUTTI_ASSIGN_OR_RETURN(adds_bos, flag("add_bos_token", adds_bos));
    TUTTI_ASSIGN_OR_RETURN(adds_eos, flag("add_eos_token", adds_eos));
    if (adds_bos && !bos_id_) return fail("add_bos_token", "is true without a bos_token_id");
    if (adds_eos && !eos_id_) return fail("add_eos_token", "is true without an eos_token_id");
    using Kind = text::TemplatePieceSpec::Kind;
    auto& single = spec_.post_processor.single;
    if (adds_bos) single.push_back({Kind::kToken, {*bos_id_}, 0});
    single.push_back({Kind::kSequenceA, {}, 0});
    if (adds_eos) single.push_back({Kind::kToken, {*eos_id_}, 0});
    return {};
  }

  Status read_scores() {
    TUTTI_ASSIGN_OR_RETURN(const std::vector<float> scores, file_.get_floats(key("scores")));
    if (scores.size() != tokens_.size()) {
      return fail("scores", fmt::format("{} scores for {} tokens", scores.size(), tokens_.size()));
    }
    spec_.model.scores.assign(scores.begin(), scores.end());
    return {};
  }

  Status read_merges() {
    TUTTI_ASSIGN_OR_RETURN(const auto merges, file_.get_strings(key("merges")));
    spec_.model.merges.reserve(merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const std::size_t space = merges[i].find(' ', 1);
      if (space == std::string_view::npos) {
        return fail("merges", fmt::format("merge {} is {:?}, must be two tokens", i, merges[i]));
      }
      const std::string_view left = merges[i].substr(0, space);
      const std::string_view right = merges[i].substr(space + 1);
      text::MergeSpec merge;
      const std::pair<std::string, std::int32_t*> parts[] = {
          {std::string(left), &merge.left},
          {std::string(right), &merge.right},
          {std::string(left) + std::string(right), &merge.merged},
      };
      for (const auto& [token, id] : parts) {
        const auto entry = index_.find(token);
        if (entry == index_.end()) {
          return fail("merges", fmt::format("merge {}: {:?} is not a token", i, token));
        }
        *id = entry->second;
      }
      spec_.model.merges.push_back(merge);
    }
    return {};
  }

  void add_character_decoders(bool adds_space_prefix) {
    spec_.decoders = std::vector<text::DecoderSpec>{
        decoder::Replace{{std::string(kSpaceMark), false}, " "},
        decoder::ByteFallback{},
        decoder::Fuse{},
    };
    if (adds_space_prefix) spec_.decoders->emplace_back(decoder::Strip{" ", 1, 0});
  }

  Status read_sentence_piece() {
    spec_.model.kind = text::ModelKind::kScoreBpe;
    spec_.model.fuse_unk = true;
    spec_.model.byte_fallback = true;
    if (!spec_.model.unk_id) {
      for (std::size_t id = 0; id < tokens_.size(); ++id) {
        if (type(id) == kUnknown) spec_.model.unk_id = static_cast<std::int32_t>(id);
      }
    }
    TUTTI_RETURN_IF_ERROR(read_scores());
    TUTTI_ASSIGN_OR_RETURN(const bool adds_space, flag("add_space_prefix", true));
    if (adds_space) spec_.normalizers.emplace_back(normalizer::Prepend{std::string(kSpaceMark)});
    spec_.normalizers.emplace_back(normalizer::Replace{{" ", false}, std::string(kSpaceMark)});
    add_character_decoders(adds_space);
    mark_phi3_tokens();
    return read_template(bos_id_.has_value(), false);
  }

  // Phi-3's control tokens take the white space behind them, which GGUF cannot say.
  void mark_phi3_tokens() {
    const auto architecture = file_.get_string("general.architecture");
    if (!architecture.ok() || *architecture != "phi3") return;
    for (text::AddedTokenSpec& token : spec_.added_tokens) {
      token.rstrip =
          token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
    }
  }

  Status read_byte_level() {
    spec_.model.kind = text::ModelKind::kBpe;
    TUTTI_RETURN_IF_ERROR(read_merges());
    std::string_view pre = "default";
    if (file_.has(key("pre"))) {
      TUTTI_ASSIGN_OR_RETURN(pre, file_.get_string(key("pre")));
    } else {
      log::warn("{}: no tokenizer.ggml.pre; the default split patterns are used", file_.name());
    }
    const GgufPreTokenizer* known = find_gguf_pre_tokenizer(pre);
    if (known == nullptr) {
      return unsupported(
          fmt::format("{}: tokenizer.ggml.pre {:?} is not supported", file_.name(), pre),
          "tokenizer.ggml.pre");
    }
    spec_.model.ignore_merges = known->ignore_merges;
    spec_.model.unk_id.reset();  // every byte has a token
    if (known->nfc) spec_.normalizers.emplace_back(normalizer::Nfc{});
    for (const std::string_view pattern : known->patterns) {
      spec_.pre_tokenizers.emplace_back(pre_tokenizer::Split{
          {std::string(pattern), true}, text::SplitBehavior::kIsolated, false});
    }
    spec_.pre_tokenizers.emplace_back(
        pre_tokenizer::ByteLevel{.add_prefix_space = false, .use_regex = false});
    spec_.decoders = std::vector<text::DecoderSpec>{decoder::ByteLevel{}};
    return read_template(known->add_bos && bos_id_.has_value(), false);
  }

  Status read_character_bpe() {
    spec_.model.kind = text::ModelKind::kBpe;
    spec_.model.byte_fallback = true;
    spec_.model.fuse_unk = true;
    TUTTI_RETURN_IF_ERROR(read_merges());
    spec_.normalizers.emplace_back(normalizer::Replace{{" ", false}, std::string(kSpaceMark)});
    add_character_decoders(false);
    return read_template(bos_id_.has_value(), false);
  }

  Status read_word_piece() {
    spec_.model.kind = text::ModelKind::kWordPiece;
    spec_.model.continuing_subword_prefix = "##";
    if (!spec_.model.unk_id) {
      const auto entry = index_.find("[UNK]");
      if (entry != index_.end()) spec_.model.unk_id = entry->second;
    }
    TUTTI_ASSIGN_OR_RETURN(const auto cls_id, token_id("cls_token_id"));
    TUTTI_ASSIGN_OR_RETURN(const auto sep_id, token_id("seperator_token_id"));  // as GGUF spells it
    if (cls_id) bos_id_ = cls_id;
    if (sep_id) eos_id_ = sep_id;
    spec_.normalizers.emplace_back(normalizer::Bert{});
    spec_.pre_tokenizers.emplace_back(pre_tokenizer::Bert{});
    spec_.decoders = std::vector<text::DecoderSpec>{decoder::WordPiece{}};
    TUTTI_RETURN_IF_ERROR(read_template(bos_id_.has_value(), eos_id_.has_value()));
    using Kind = text::TemplatePieceSpec::Kind;
    auto& pair = spec_.post_processor.pair;
    pair = spec_.post_processor.single;
    pair.push_back({Kind::kSequenceB, {}, 1});
    if (eos_id_) pair.push_back({Kind::kToken, {*eos_id_}, 1});
    return {};
  }

  const GgufFile& file_;
  text::TokenizerSpec spec_;
  std::vector<std::string_view> tokens_;
  std::vector<std::int64_t> types_;  // empty: all normal
  text::TokenIndex index_;
  std::optional<std::int32_t> bos_id_;
  std::optional<std::int32_t> eos_id_;
};

}  // namespace

Result<text::TokenizerSpec> gguf_vocab(const GgufFile& file) { return VocabReader(file).read(); }

}  // namespace tutti::formats
