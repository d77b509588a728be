// A tokenizer as plain data: what a tokenizer.json or a GGUF's metadata says, already parsed.
// formats/ fills it from untrusted bytes; Tokenizer::create checks it again and builds from it.
//
// The words and the behaviour of every component are those of Hugging Face `tokenizers`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tutti::text {

// A pattern is either a plain string or a regular expression in Oniguruma's Ruby syntax.
struct PatternSpec {
  std::string text;
  bool is_regex = false;
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kFirst, kAlways, kNever };

namespace normalizer {
struct Nfc {};
struct Nfd {};
struct Nfkc {};
struct Nfkd {};
struct Lowercase {};
struct Strip {
  bool left = true;
  bool right = true;
};
struct StripAccents {};
struct Nmt {};
struct ByteLevel {};
// Put before every text that is not empty.
struct Prepend {
  std::string text;
};
struct Append {
  std::string text;
};
struct Replace {
  PatternSpec pattern;
  std::string content;
};
struct Bert {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  std::optional<bool> strip_accents;  // absent: as `lowercase`
  bool lowercase = true;
};
// SentencePiece's character map: u32 size of a double-array trie, the trie, strings ending in NUL.
struct Precompiled {
  std::string charsmap;
};
}  // namespace normalizer

using NormalizerSpec =
    std::variant<normalizer::Nfc, normalizer::Nfd, normalizer::Nfkc, normalizer::Nfkd,
                 normalizer::Lowercase, normalizer::Strip, normalizer::StripAccents,
                 normalizer::Nmt, normalizer::ByteLevel, normalizer::Prepend, normalizer::Append,
                 normalizer::Replace, normalizer::Bert, normalizer::Precompiled>;

namespace pre_tokenizer {
struct Split {
  PatternSpec pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct ByteLevel {
  bool add_prefix_space = true;
  bool use_regex = true;
};
struct Digits {
  bool individual_digits = false;
};
struct Metaspace {
  std::string replacement = "\xE2\x96\x81";  // U+2581
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool split = true;
};
struct Whitespace {};
struct WhitespaceSplit {};
struct Punctuation {
  SplitBehavior behavior = SplitBehavior::kIsolated;
};
struct Bert {};
struct UnicodeScripts {};
}  // namespace pre_tokenizer

using PreTokenizerSpec =
    std::variant<pre_tokenizer::Split, pre_tokenizer::ByteLevel, pre_tokenizer::Digits,
                 pre_tokenizer::Metaspace, pre_tokenizer::Whitespace,
                 pre_tokenizer::WhitespaceSplit, pre_tokenizer::Punctuation, pre_tokenizer::Bert,
                 pre_tokenizer::UnicodeScripts>;

namespace decoder {
struct ByteLevel {};
struct Replace {
  PatternSpec pattern;
  std::string content;
};
struct ByteFallback {};
struct Fuse {};
// Removes up to `start` characters `content` at a token's start, up to `stop` at its end.
struct Strip {
  std::string content;  // one character
  int start = 0;
  int stop = 0;
};
struct Metaspace {
  std::string replacement = "\xE2\x96\x81";
  PrependScheme prepend_scheme = PrependScheme::kAlways;
};
struct WordPiece {
  std::string prefix = "##";
  bool cleanup = true;
};
struct Bpe {
  std::string suffix = "</w>";
};
}  // namespace decoder

using DecoderSpec =
    std::variant<decoder::ByteLevel, decoder::Replace, decoder::ByteFallback, decoder::Fuse,
                 decoder::Strip, decoder::Metaspace, decoder::WordPiece, decoder::Bpe>;

struct AddedTokenSpec {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // matches only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;
  bool normalized = false;  // looked for in the normalized text
  bool special = false;     // left out by decode(skip_special_tokens)
};

// What the post-processor puts around one text ($A) and around two ($A, $B).
struct TemplatePieceSpec {
  enum class Kind { kSequenceA, kSequenceB, kToken } kind = Kind::kSequenceA;
  std::vector<std::int32_t> token_ids;  // for kToken
  int type_id = 0;
};
struct TemplateSpec {
  std::vector<TemplatePieceSpec> single;  // empty: the text alone
  std::vector<TemplatePieceSpec> pair;    // empty: $A then $B
};

struct MergeSpec {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t merged = 0;
};

enum class ModelKind {
  kBpe,       // merges in order of rank
  kScoreBpe,  // SentencePiece BPE: any two neighbours that spell a token, highest score first
  kUnigram,
  kWordPiece,
};

struct ModelSpec {
  ModelKind kind = ModelKind::kBpe;
  std::vector<MergeSpec> merges;  // kBpe: index = rank
  std::vector<double> scores;     // kScoreBpe, kUnigram: by token id
  std::optional<std::int32_t> unk_id;
  bool fuse_unk = false;
  bool byte_fallback = false;  // unknown characters become tokens <0x00> … <0xFF>
  bool ignore_merges = false;  // a piece that is a token is that token
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  int max_input_chars_per_word = 100;  // kWordPiece
};

struct TokenizerSpec {
  // The model's vocabulary by id; an id that is not used has no string. Added tokens may lie in it
  // or beyond it.
  std::vector<std::optional<std::string>> vocab;
  ModelSpec model;
  std::vector<AddedTokenSpec> added_tokens;
  std::vector<NormalizerSpec> normalizers;           // applied in order
  std::vector<PreTokenizerSpec> pre_tokenizers;      // applied in order
  std::optional<std::vector<DecoderSpec>> decoders;  // absent: tokens joined with a space
  TemplateSpec post_processor;
  // Ids that the model itself may never produce from text (control tokens), besides special added
  // tokens.
  std::vector<std::int32_t> control_ids;
  // For templates and stopping; names of tokens of the vocabulary.
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> unk_token;
  std::optional<std::string> pad_token;
};

}  // namespace tutti::text
