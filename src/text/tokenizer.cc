#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "text/detokenizer.h"
#include "text/tokens/added_tokens.h"
#include "text/tokens/normalizer.h"
#include "text/tokens/pre_tokenizer.h"
#include "text/tokens/token_decoder.h"
#include "text/tokens/token_model.h"
#include "text/tokens/vocabulary.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

Result<std::unique_ptr<TokenModel>> make_model(const ModelSpec& spec, const Vocabulary& vocabulary,
                                               bool byte_level) {
  if (byte_level && spec.kind != ModelKind::kBpe) {
    return unsupported("pre_tokenizer: ByteLevel goes with the model BPE only", "pre_tokenizer");
  }
  switch (spec.kind) {
    case ModelKind::kBpe:
      return make_bpe_model(spec, vocabulary, byte_level);
    case ModelKind::kScoreBpe:
      return make_score_bpe_model(spec, vocabulary);
    case ModelKind::kUnigram:
      return make_unigram_model(spec, vocabulary);
    case ModelKind::kWordPiece:
      return make_word_piece_model(spec, vocabulary);
  }
  return unsupported("model: unknown kind", "model");
}

Status check_template(const std::vector<TemplatePieceSpec>& pieces, const Vocabulary& vocabulary) {
  for (const TemplatePieceSpec& piece : pieces) {
    for (const std::int32_t id : piece.token_ids) {
      if (vocabulary.contains(id)) continue;
      return invalid_argument("post_processor",
                              fmt::format("post_processor: token {} is not in the vocabulary", id));
    }
  }
  return {};
}

// Where the literal spans of `text` lie in its normalized form. What is not clearly outside counts
// as inside: a border is where the normal forms of the two sides still agree with the whole's.
std::vector<TextSpan> normalized_spans(std::string_view text, std::string_view normalized,
                                       std::span<const TextSpan> spans,
                                       const Normalizer& normalizer) {
  std::vector<TextSpan> result;
  for (const TextSpan span : spans) {
    const std::string before = normalizer.apply(text.substr(0, span.begin));
    const std::string after = normalizer.apply(text.substr(span.end));
    const auto begin =
        std::mismatch(before.begin(), before.end(), normalized.begin(), normalized.end()).second -
        normalized.begin();
    const auto num_after =
        std::mismatch(after.rbegin(), after.rend(), normalized.rbegin(), normalized.rend()).second -
        normalized.rbegin();
    const auto end = static_cast<std::ptrdiff_t>(normalized.size()) - num_after;
    if (begin < end) {
      result.push_back({static_cast<std::size_t>(begin), static_cast<std::size_t>(end)});
    }
  }
  return result;
}

// The parts of sorted spans that lie in `range`, counted from its begin.
std::vector<TextSpan> clip_spans(std::span<const TextSpan> spans, TextSpan range) {
  std::vector<TextSpan> result;
  auto first = std::partition_point(spans.begin(), spans.end(),
                                    [&](TextSpan span) { return span.end <= range.begin; });
  for (; first != spans.end() && first->begin < range.end; ++first) {
    const std::size_t begin = std::max(first->begin, range.begin);
    const std::size_t end = std::min(first->end, range.end);
    if (begin < end) result.push_back({begin - range.begin, end - range.begin});
  }
  return result;
}

struct RepairedText {
  std::string text;
  std::vector<TextSpan> spans;
};

// Valid UTF-8, and where the spans lie in it. A character cut by a border counts as invalid.
RepairedText repair_text(std::string_view text, std::span<const TextSpan> spans) {
  RepairedText result;
  std::size_t position = 0;
  const auto advance = [&](std::size_t end) {
    end = std::clamp(end, position, text.size());
    result.text += repair_utf8(text.substr(position, end - position));
    position = end;
    return result.text.size();
  };
  for (const TextSpan span : spans) {
    const std::size_t begin = advance(span.begin);
    result.spans.push_back({begin, advance(span.end)});
  }
  advance(text.size());
  return result;
}

}  // namespace

struct Tokenizer::Parts {
  TokenizerSpec spec;  // vocabulary and merges are emptied once built
  Vocabulary vocabulary;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  AddedTokenFinder raw_tokens;
  AddedTokenFinder normalized_tokens;
  DecoderPlan decoder_plan;
  std::unique_ptr<TokenModel> model;  // refers to `vocabulary`
  std::optional<std::int32_t> bos_id;
  std::optional<std::int32_t> eos_id;
  std::string bos_token;
  std::string eos_token;
  std::string unk_token;
  std::string pad_token;
  std::unordered_map<std::int32_t, std::string> normalized_added;  // whose form is another

  void encode_text(std::string_view text, const EncodeOptions& options,
                   std::span<const TextSpan> literal_spans, std::vector<std::int32_t>& ids) const;
  void encode_segment(std::string_view text, bool at_start, const EncodeOptions& options,
                      std::span<const TextSpan> literal_spans,
                      std::vector<std::int32_t>& ids) const;
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(TokenizerSpec spec) {
  TUTTI_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::create(spec));
  TUTTI_ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::create(spec.normalizers));
  TUTTI_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::create(spec.pre_tokenizers));
  TUTTI_ASSIGN_OR_RETURN(DecoderPlan decoder_plan, DecoderPlan::create(spec.decoders));
  TUTTI_RETURN_IF_ERROR(check_template(spec.post_processor.single, vocabulary));
  TUTTI_RETURN_IF_ERROR(check_template(spec.post_processor.pair, vocabulary));
  AddedTokenFinder raw_tokens(spec.added_tokens, false, normalizer);
  AddedTokenFinder normalized_tokens(spec.added_tokens, true, normalizer);
  std::unique_ptr<Parts> parts(new Parts{std::move(spec),
                                         std::move(vocabulary),
                                         std::move(normalizer),
                                         std::move(pre_tokenizer),
                                         std::move(raw_tokens),
                                         std::move(normalized_tokens),
                                         std::move(decoder_plan),
                                         nullptr,
                                         {},
                                         {},
                                         {},
                                         {},
                                         {},
                                         {}});
  TUTTI_ASSIGN_OR_RETURN(parts->model, make_model(parts->spec.model, parts->vocabulary,
                                                  parts->pre_tokenizer.is_byte_level()));
  for (const AddedTokenSpec& added : parts->spec.added_tokens) {
    if (!added.normalized || parts->normalizer.is_identity()) continue;
    std::string normalized = parts->normalizer.apply(added.content);
    if (normalized != added.content) parts->normalized_added.emplace(added.id, normalized);
  }
  parts->spec.vocab = {};
  parts->spec.model.merges = {};
  parts->spec.model.scores = {};
  parts->bos_token = parts->spec.bos_token.value_or("");
  parts->eos_token = parts->spec.eos_token.value_or("");
  parts->unk_token = parts->spec.unk_token.value_or("");
  parts->pad_token = parts->spec.pad_token.value_or("");
  if (parts->spec.bos_token) parts->bos_id = parts->vocabulary.find(parts->bos_token);
  if (parts->spec.eos_token) parts->eos_id = parts->vocabulary.find(parts->eos_token);
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

void Tokenizer::Parts::encode_segment(std::string_view text, bool at_start,
                                      const EncodeOptions& options,
                                      std::span<const TextSpan> literal_spans,
                                      std::vector<std::int32_t>& ids) const {
  const std::string normalized = normalizer.apply(text);
  std::vector<TextSegment> segments =
      normalized_tokens.split(normalized, options.parse_special, {});
  const bool has_token = std::any_of(segments.begin(), segments.end(),
                                     [](const TextSegment& s) { return s.token_id >= 0; });
  if (has_token && !literal_spans.empty()) {
    segments =
        normalized_tokens.split(normalized, options.parse_special,
                                normalized_spans(text, normalized, literal_spans, normalizer));
  }
  for (const TextSegment& segment : segments) {
    if (segment.token_id >= 0) {
      ids.push_back(segment.token_id);
      continue;
    }
    const PreTokenizedText pieces = pre_tokenizer.apply(
        normalized.substr(segment.span.begin, segment.span.end - segment.span.begin),
        at_start && segment.span.begin == 0);
    model->encode(pieces.text, pieces.pieces, ids);
  }
}

void Tokenizer::Parts::encode_text(std::string_view text, const EncodeOptions& options,
                                   std::span<const TextSpan> literal_spans,
                                   std::vector<std::int32_t>& ids) const {
  RepairedText repaired;
  if (!is_valid_utf8(text)) {
    repaired = repair_text(text, literal_spans);
    text = repaired.text;
    literal_spans = repaired.spans;
  }
  const std::vector<TextSpan> spans = clip_spans(literal_spans, {0, text.size()});
  for (const TextSegment& segment : raw_tokens.split(text, options.parse_special, spans)) {
    if (segment.token_id >= 0) {
      ids.push_back(segment.token_id);
      continue;
    }
    encode_segment(text.substr(segment.span.begin, segment.span.end - segment.span.begin),
                   segment.span.begin == 0, options, clip_spans(spans, segment.span), ids);
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options,
                                            std::span<const TextSpan> literal_spans) const {
  std::vector<std::int32_t> ids;
  const std::vector<TemplatePieceSpec>& pieces = parts_->spec.post_processor.single;
  if (!options.add_special_tokens || pieces.empty()) {
    parts_->encode_text(text, options, literal_spans, ids);
    return ids;
  }
  for (const TemplatePieceSpec& piece : pieces) {
    if (piece.kind == TemplatePieceSpec::Kind::kToken) {
      ids.insert(ids.end(), piece.token_ids.begin(), piece.token_ids.end());
    } else {
      parts_->encode_text(text, options, literal_spans, ids);
    }
  }
  return ids;
}

PairEncoding Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  using Kind = TemplatePieceSpec::Kind;
  static const std::vector<TemplatePieceSpec> kPlain = {{Kind::kSequenceA, {}, 0},
                                                        {Kind::kSequenceB, {}, 1}};
  const std::vector<TemplatePieceSpec>& pair = parts_->spec.post_processor.pair;
  PairEncoding encoding;
  for (const TemplatePieceSpec& piece : pair.empty() ? kPlain : pair) {
    if (piece.kind == Kind::kToken) {
      encoding.ids.insert(encoding.ids.end(), piece.token_ids.begin(), piece.token_ids.end());
    } else {
      parts_->encode_text(piece.kind == Kind::kSequenceA ? first : second, {}, {}, encoding.ids);
    }
    encoding.type_ids.resize(encoding.ids.size(), piece.type_id);
  }
  return encoding;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  IncrementalDetokenizer detokenizer(*this, skip_special_tokens);
  std::string text;
  for (const std::int32_t id : ids) text += detokenizer.push(id);
  text += detokenizer.finish();
  return text;
}

std::string Tokenizer::token_bytes(std::int32_t id) const {
  return parts_->vocabulary.contains(id)
             ? parts_->decoder_plan.token_bytes(parts_->vocabulary.token(id))
             : std::string();
}

int Tokenizer::vocab_size() const { return parts_->vocabulary.size(); }

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  return parts_->vocabulary.find(token);
}

const std::string& Tokenizer::id_to_token(std::int32_t id) const {
  return parts_->vocabulary.token(id);
}

bool Tokenizer::is_special(std::int32_t id) const { return parts_->vocabulary.is_special(id); }

std::optional<std::int32_t> Tokenizer::bos_id() const { return parts_->bos_id; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return parts_->eos_id; }
const std::string& Tokenizer::bos_token() const { return parts_->bos_token; }
const std::string& Tokenizer::eos_token() const { return parts_->eos_token; }
const std::string& Tokenizer::unk_token() const { return parts_->unk_token; }
const std::string& Tokenizer::pad_token() const { return parts_->pad_token; }

bool Tokenizer::adds_bos() const {
  const std::vector<TemplatePieceSpec>& pieces = parts_->spec.post_processor.single;
  return parts_->bos_id && !pieces.empty() && !pieces.front().token_ids.empty() &&
         pieces.front().token_ids.front() == *parts_->bos_id;
}

bool Tokenizer::adds_eos() const {
  const std::vector<TemplatePieceSpec>& pieces = parts_->spec.post_processor.single;
  return parts_->eos_id && !pieces.empty() && !pieces.back().token_ids.empty() &&
         pieces.back().token_ids.back() == *parts_->eos_id;
}

const Vocabulary& Tokenizer::vocabulary() const { return parts_->vocabulary; }
const std::string& Tokenizer::decoder_input(std::int32_t id) const {
  const auto entry = parts_->normalized_added.find(id);
  return entry == parts_->normalized_added.end() ? id_to_token(id) : entry->second;
}
const DecoderPlan& Tokenizer::decoder_plan() const { return parts_->decoder_plan; }

}  // namespace tutti::text
