#include "formats/tokenizer_components.h"

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <array>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "formats/base64.h"
#include "formats/json_fields.h"

namespace tutti::formats {
namespace {

namespace json = boost::json;
namespace normalizer = text::normalizer;
namespace pre_tokenizer = text::pre_tokenizer;
namespace decoder = text::decoder;

template <typename T>
using Named = std::pair<std::string_view, T>;

template <typename Spec>
using Reader = Result<Spec> (*)(const JsonFields& fields);

template <typename T, std::size_t N>
const T* find_named(const std::array<Named<T>, N>& table, std::string_view name) {
  for (const auto& [key, value] : table) {
    if (key == name) return &value;
  }
  return nullptr;
}

// Reads one component or, by its type "Sequence", the list under `list_key`.
template <typename Spec, std::size_t N>
Status read_components(const json::value& value, const std::string& path, std::string_view list_key,
                       const std::array<Named<Reader<Spec>>, N>& readers, std::vector<Spec>& out) {
  if (!value.is_object()) return corrupt(path + ": an object is expected");
  const JsonFields fields(value.get_object(), path);
  TUTTI_ASSIGN_OR_RETURN(const std::string type, fields.require_string("type"));
  if (type == "Sequence") {
    TUTTI_ASSIGN_OR_RETURN(const json::array* list, fields.require_array(list_key));
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string item_path = fmt::format("{}.{}[{}]", path, list_key, i);
      TUTTI_RETURN_IF_ERROR(read_components((*list)[i], item_path, list_key, readers, out));
    }
    return {};
  }
  const Reader<Spec>* reader = find_named(readers, type);
  if (reader == nullptr) {
    return unsupported(fmt::format("{}: type {:?} is not supported", path, type), path);
  }
  TUTTI_ASSIGN_OR_RETURN(Spec spec, (*reader)(fields));
  out.push_back(std::move(spec));
  return {};
}

template <typename Spec, typename Component>
Result<Spec> read_plain(const JsonFields&) {
  return Spec(Component{});
}

Result<text::PatternSpec> read_pattern(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(const json::object* pattern, fields.require_object("pattern"));
  const JsonFields pattern_fields(*pattern, fields.path() + ".pattern");
  TUTTI_ASSIGN_OR_RETURN(std::optional<std::string> regex, pattern_fields.get_string("Regex"));
  if (regex) return text::PatternSpec{std::move(*regex), true};
  TUTTI_ASSIGN_OR_RETURN(std::string literal, pattern_fields.require_string("String"));
  return text::PatternSpec{std::move(literal), false};
}

Result<text::SplitBehavior> read_behavior(const JsonFields& fields, std::string_view fallback) {
  using text::SplitBehavior;
  static constexpr std::array<Named<SplitBehavior>, 5> kBehaviors = {{
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  TUTTI_ASSIGN_OR_RETURN(const std::string name, fields.string_or("behavior", fallback));
  const SplitBehavior* behavior = find_named(kBehaviors, name);
  if (behavior == nullptr) return fields.wrong("behavior", "a split behaviour");
  return *behavior;
}

Result<text::PrependScheme> read_prepend_scheme(const JsonFields& fields) {
  using text::PrependScheme;
  static constexpr std::array<Named<PrependScheme>, 3> kSchemes = {{
      {"first", PrependScheme::kFirst},
      {"always", PrependScheme::kAlways},
      {"never", PrependScheme::kNever},
  }};
  // Older files say add_prefix_space.
  TUTTI_ASSIGN_OR_RETURN(const bool adds_space, fields.bool_or("add_prefix_space", true));
  TUTTI_ASSIGN_OR_RETURN(const std::string name,
                         fields.string_or("prepend_scheme", adds_space ? "always" : "never"));
  const PrependScheme* scheme = find_named(kSchemes, name);
  if (scheme == nullptr) return fields.wrong("prepend_scheme", "first, always or never");
  return *scheme;
}

using text::NormalizerSpec;

Result<NormalizerSpec> read_strip(const JsonFields& fields) {
  normalizer::Strip spec;
  TUTTI_ASSIGN_OR_RETURN(spec.left, fields.bool_or("strip_left", true));
  TUTTI_ASSIGN_OR_RETURN(spec.right, fields.bool_or("strip_right", true));
  return NormalizerSpec(spec);
}

Result<NormalizerSpec> read_prepend(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(std::string content, fields.require_string("prepend"));
  return NormalizerSpec(normalizer::Prepend{std::move(content)});
}

Result<NormalizerSpec> read_append(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(std::string content, fields.require_string("append"));
  return NormalizerSpec(normalizer::Append{std::move(content)});
}

Result<NormalizerSpec> read_replace(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(text::PatternSpec pattern, read_pattern(fields));
  TUTTI_ASSIGN_OR_RETURN(std::string content, fields.require_string("content"));
  return NormalizerSpec(normalizer::Replace{std::move(pattern), std::move(content)});
}

Result<NormalizerSpec> read_bert_normalizer(const JsonFields& fields) {
  normalizer::Bert spec;
  TUTTI_ASSIGN_OR_RETURN(spec.clean_text, fields.bool_or("clean_text", true));
  TUTTI_ASSIGN_OR_RETURN(spec.handle_chinese_chars, fields.bool_or("handle_chinese_chars", true));
  TUTTI_ASSIGN_OR_RETURN(spec.strip_accents, fields.get_bool("strip_accents"));
  TUTTI_ASSIGN_OR_RETURN(spec.lowercase, fields.bool_or("lowercase", true));
  return NormalizerSpec(spec);
}

Result<NormalizerSpec> read_precompiled(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(const std::string encoded, fields.string_or("precompiled_charsmap", ""));
  std::optional<std::string> charsmap = decode_base64(encoded);
  if (!charsmap) return fields.wrong("precompiled_charsmap", "base64");
  return NormalizerSpec(normalizer::Precompiled{std::move(*charsmap)});
}

constexpr std::array<Named<Reader<NormalizerSpec>>, 14> kNormalizers = {{
    {"NFC", read_plain<NormalizerSpec, normalizer::Nfc>},
    {"NFD", read_plain<NormalizerSpec, normalizer::Nfd>},
    {"NFKC", read_plain<NormalizerSpec, normalizer::Nfkc>},
    {"NFKD", read_plain<NormalizerSpec, normalizer::Nfkd>},
    {"Lowercase", read_plain<NormalizerSpec, normalizer::Lowercase>},
    {"StripAccents", read_plain<NormalizerSpec, normalizer::StripAccents>},
    {"Nmt", read_plain<NormalizerSpec, normalizer::Nmt>},
    {"ByteLevel", read_plain<NormalizerSpec, normalizer::ByteLevel>},
    {"Strip", read_strip},
    {"Prepend", read_prepend},
    {"Append", read_append},
    {"Replace", read_replace},
    {"BertNormalizer", read_bert_normalizer},
    {"Precompiled", read_precompiled},
}};

using text::PreTokenizerSpec;

Result<PreTokenizerSpec> read_split(const JsonFields& fields) {
  pre_tokenizer::Split spec;
  TUTTI_ASSIGN_OR_RETURN(spec.pattern, read_pattern(fields));
  TUTTI_ASSIGN_OR_RETURN(spec.behavior, read_behavior(fields, ""));
  TUTTI_ASSIGN_OR_RETURN(spec.invert, fields.bool_or("invert", false));
  return PreTokenizerSpec(std::move(spec));
}

Result<PreTokenizerSpec> read_char_delimiter(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(std::string delimiter, fields.require_string("delimiter"));
  return PreTokenizerSpec(
      pre_tokenizer::Split{{std::move(delimiter), false}, text::SplitBehavior::kRemoved, false});
}

Result<PreTokenizerSpec> read_byte_level(const JsonFields& fields) {
  pre_tokenizer::ByteLevel spec;
  TUTTI_ASSIGN_OR_RETURN(spec.add_prefix_space, fields.bool_or("add_prefix_space", true));
  TUTTI_ASSIGN_OR_RETURN(spec.use_regex, fields.bool_or("use_regex", true));
  return PreTokenizerSpec(spec);
}

Result<PreTokenizerSpec> read_digits(const JsonFields& fields) {
  pre_tokenizer::Digits spec;
  TUTTI_ASSIGN_OR_RETURN(spec.individual_digits, fields.bool_or("individual_digits", false));
  return PreTokenizerSpec(spec);
}

Result<PreTokenizerSpec> read_metaspace(const JsonFields& fields) {
  pre_tokenizer::Metaspace spec;
  TUTTI_ASSIGN_OR_RETURN(spec.replacement, fields.string_or("replacement", spec.replacement));
  TUTTI_ASSIGN_OR_RETURN(spec.prepend_scheme, read_prepend_scheme(fields));
  TUTTI_ASSIGN_OR_RETURN(spec.split, fields.bool_or("split", true));
  return PreTokenizerSpec(std::move(spec));
}

Result<PreTokenizerSpec> read_punctuation(const JsonFields& fields) {
  pre_tokenizer::Punctuation spec;
  TUTTI_ASSIGN_OR_RETURN(spec.behavior, read_behavior(fields, "Isolated"));
  return PreTokenizerSpec(spec);
}

constexpr std::array<Named<Reader<PreTokenizerSpec>>, 10> kPreTokenizers = {{
    {"Split", read_split},
    {"CharDelimiterSplit", read_char_delimiter},
    {"ByteLevel", read_byte_level},
    {"Digits", read_digits},
    {"Metaspace", read_metaspace},
    {"Punctuation", read_punctuation},
    {"Whitespace", read_plain<PreTokenizerSpec, pre_tokenizer::Whitespace>},
    {"WhitespaceSplit", read_plain<PreTokenizerSpec, pre_tokenizer::WhitespaceSplit>},
    {"BertPreTokenizer", read_plain<PreTokenizerSpec, pre_tokenizer::Bert>},
    {"UnicodeScripts", read_plain<PreTokenizerSpec, pre_tokenizer::UnicodeScripts>},
}};

using text::DecoderSpec;

Result<DecoderSpec> read_replace_decoder(const JsonFields& fields) {
  TUTTI_ASSIGN_OR_RETURN(text::PatternSpec pattern, read_pattern(fields));
  TUTTI_ASSIGN_OR_RETURN(std::string content, fields.require_string("content"));
  return DecoderSpec(decoder::Replace{std::move(pattern), std::move(content)});
}

Result<DecoderSpec> read_strip_decoder(const JsonFields& fields) {
  constexpr int kMaxStripped = 1024;
  decoder::Strip spec;
  TUTTI_ASSIGN_OR_RETURN(spec.content, fields.require_string("content"));
  TUTTI_ASSIGN_OR_RETURN(const auto start, fields.get_int("start", 0, kMaxStripped));
  TUTTI_ASSIGN_OR_RETURN(const auto stop, fields.get_int("stop", 0, kMaxStripped));
  spec.start = static_cast<int>(start.value_or(0));
  spec.stop = static_cast<int>(stop.value_or(0));
  return DecoderSpec(std::move(spec));
}

Result<DecoderSpec> read_metaspace_decoder(const JsonFields& fields) {
  decoder::Metaspace spec;
  TUTTI_ASSIGN_OR_RETURN(spec.replacement, fields.string_or("replacement", spec.replacement));
  TUTTI_ASSIGN_OR_RETURN(spec.prepend_scheme, read_prepend_scheme(fields));
  return DecoderSpec(std::move(spec));
}

Result<DecoderSpec> read_word_piece_decoder(const JsonFields& fields) {
  decoder::WordPiece spec;
  TUTTI_ASSIGN_OR_RETURN(spec.prefix, fields.string_or("prefix", spec.prefix));
  TUTTI_ASSIGN_OR_RETURN(spec.cleanup, fields.bool_or("cleanup", spec.cleanup));
  return DecoderSpec(std::move(spec));
}

Result<DecoderSpec> read_bpe_decoder(const JsonFields& fields) {
  decoder::Bpe spec;
  TUTTI_ASSIGN_OR_RETURN(spec.suffix, fields.string_or("suffix", spec.suffix));
  return DecoderSpec(std::move(spec));
}

constexpr std::array<Named<Reader<DecoderSpec>>, 8> kDecoders = {{
    {"ByteLevel", read_plain<DecoderSpec, decoder::ByteLevel>},
    {"ByteFallback", read_plain<DecoderSpec, decoder::ByteFallback>},
    {"Fuse", read_plain<DecoderSpec, decoder::Fuse>},
    {"Replace", read_replace_decoder},
    {"Strip", read_strip_decoder},
    {"Metaspace", read_metaspace_decoder},
    {"WordPiece", read_word_piece_decoder},
    {"BPEDecoder", read_bpe_decoder},
}};

using Pieces = std::vector<text::TemplatePieceSpec>;
using PieceKind = text::TemplatePieceSpec::Kind;

// {"SpecialToken": {"id": "<s>", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}.
Status read_template_piece(const JsonFields& fields, const json::object& special_tokens,
                           Pieces& pieces) {
  const bool is_token = fields.find("SpecialToken") != nullptr;
  const std::string_view key = is_token ? "SpecialToken" : "Sequence";
  TUTTI_ASSIGN_OR_RETURN(const json::object* inner, fields.require_object(key));
  const JsonFields inner_fields(*inner, fmt::format("{}.{}", fields.path(), key));
  TUTTI_ASSIGN_OR_RETURN(const std::string id, inner_fields.require_string("id"));
  TUTTI_ASSIGN_OR_RETURN(const auto type_id, inner_fields.get_int("type_id", 0, 255));
  text::TemplatePieceSpec piece;
  piece.type_id = static_cast<int>(type_id.value_or(0));
  if (!is_token) {
    if (id != "A" && id != "B") return inner_fields.wrong("id", "A or B");
    piece.kind = id == "A" ? PieceKind::kSequenceA : PieceKind::kSequenceB;
    pieces.push_back(std::move(piece));
    return {};
  }
  piece.kind = PieceKind::kToken;
  const JsonFields tokens(special_tokens, "post_processor.special_tokens");
  TUTTI_ASSIGN_OR_RETURN(const json::object* token, tokens.require_object(id));
  const JsonFields token_fields(*token, fmt::format("{}.{}", tokens.path(), id));
  TUTTI_ASSIGN_OR_RETURN(const json::array* ids, token_fields.require_array("ids"));
  for (const json::value& value : *ids) {
    const std::optional<std::int64_t> token_id = int_in_range(value, 0, kMaxTokenId);
    if (!token_id) return token_fields.wrong("ids", "token ids");
    piece.token_ids.push_back(static_cast<std::int32_t>(*token_id));
  }
  pieces.push_back(std::move(piece));
  return {};
}

Status read_template_pieces(const JsonFields& fields, std::string_view key,
                            const json::object& special_tokens, Pieces& pieces) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* list, fields.require_array(key));
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string path = fmt::format("{}.{}[{}]", fields.path(), key, i);
    if (!(*list)[i].is_object()) return corrupt(path + ": an object is expected");
    TUTTI_RETURN_IF_ERROR(
        read_template_piece(JsonFields((*list)[i].get_object(), path), special_tokens, pieces));
  }
  return {};
}

Status read_template(const JsonFields& fields, text::TemplateSpec& spec) {
  const json::object no_tokens;
  const json::value* tokens = fields.find("special_tokens");
  if (tokens != nullptr && !tokens->is_object()) return fields.wrong("special_tokens", "an object");
  const json::object& special_tokens = tokens == nullptr ? no_tokens : tokens->get_object();
  TUTTI_RETURN_IF_ERROR(read_template_pieces(fields, "single", special_tokens, spec.single));
  if (fields.find("pair") == nullptr) return {};
  return read_template_pieces(fields, "pair", special_tokens, spec.pair);
}

// ["[SEP]", 102]
Result<text::TemplatePieceSpec> read_bert_token(const JsonFields& fields, std::string_view key) {
  TUTTI_ASSIGN_OR_RETURN(const json::array* pair, fields.require_array(key));
  const std::optional<std::int64_t> id =
      pair->size() == 2 ? int_in_range((*pair)[1], 0, kMaxTokenId) : std::nullopt;
  if (!id) return fields.wrong(key, "a token and its id");
  return text::TemplatePieceSpec{PieceKind::kToken, {static_cast<std::int32_t>(*id)}, 0};
}

Status read_bert_template(const JsonFields& fields, bool is_roberta, text::TemplateSpec& spec) {
  TUTTI_ASSIGN_OR_RETURN(const text::TemplatePieceSpec cls, read_bert_token(fields, "cls"));
  TUTTI_ASSIGN_OR_RETURN(text::TemplatePieceSpec sep, read_bert_token(fields, "sep"));
  spec.single = {cls, {PieceKind::kSequenceA, {}, 0}, sep};
  spec.pair = spec.single;
  const int second_type = is_roberta ? 0 : 1;
  if (is_roberta) spec.pair.push_back(sep);
  spec.pair.push_back({PieceKind::kSequenceB, {}, second_type});
  sep.type_id = second_type;
  spec.pair.push_back(sep);
  return {};
}

Status read_post_processor_at(const json::value& value, const std::string& path,
                              text::TokenizerSpec& spec) {
  if (!value.is_object()) return corrupt(path + ": an object is expected");
  const JsonFields fields(value.get_object(), path);
  TUTTI_ASSIGN_OR_RETURN(const std::string type, fields.require_string("type"));
  if (type == "Sequence") {
    TUTTI_ASSIGN_OR_RETURN(const json::array* list, fields.require_array("processors"));
    for (std::size_t i = 0; i < list->size(); ++i) {
      TUTTI_RETURN_IF_ERROR(
          read_post_processor_at((*list)[i], fmt::format("{}.processors[{}]", path, i), spec));
    }
    return {};
  }
  if (type == "ByteLevel") return {};  // changes offsets only
  if (!spec.post_processor.single.empty()) {
    return unsupported(path + ": two templates in sequence are not supported", path);
  }
  if (type == "TemplateProcessing") return read_template(fields, spec.post_processor);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return read_bert_template(fields, type == "RobertaProcessing", spec.post_processor);
  }
  return unsupported(fmt::format("{}: type {:?} is not supported", path, type), path);
}

}  // namespace

Status read_normalizer(const json::value& value, text::TokenizerSpec& spec) {
  return read_components(value, "normalizer", "normalizers", kNormalizers, spec.normalizers);
}

Status read_pre_tokenizer(const json::value& value, text::TokenizerSpec& spec) {
  return read_components(value, "pre_tokenizer", "pretokenizers", kPreTokenizers,
                         spec.pre_tokenizers);
}

Status read_decoder(const json::value& value, text::TokenizerSpec& spec) {
  spec.decoders.emplace();
  return read_components(value, "decoder", "decoders", kDecoders, *spec.decoders);
}

Status read_post_processor(const json::value& value, text::TokenizerSpec& spec) {
  return read_post_processor_at(value, "post_processor", spec);
}

}  // namespace tutti::formats
