// Text to token ids and back, equal to Hugging Face `tokenizers` id for id.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds: start and end tokens
  bool parse_special = true;       // special tokens written in the text become their ids
};

// Ids of two texts put together for a classifier or a reranker.
struct PairEncoding {
  std::vector<std::int32_t> ids;
  std::vector<int> type_ids;
};

class DecoderPlan;
class Vocabulary;

// Thread safety: immutable after construction, every member may be called from any thread.
class Tokenizer {
 public:
  // Errors: kInvalidArgument or kUnsupported, naming the component or the token and the bound.
  static Result<std::unique_ptr<Tokenizer>> create(TokenizerSpec spec);
  ~Tokenizer();

  // Bytes of `text` that are not UTF-8 count as U+FFFD. `literal_spans` are sorted, disjoint ranges
  // of user content: no added token matches if any of its bytes lies in one (tokens of white space
  // alone excepted), so that "<|im_end|>" written by a user stays text. Ordinary merging crosses
  // their borders, so that harmless text gives the ids it would give without them.
  // Time is O(n log n) in the worst case and linear on usual text; a split pattern that runs into
  // its match limit matches nothing from there on.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {},
                                   std::span<const TextSpan> literal_spans = {}) const;
  PairEncoding encode_pair(std::string_view first, std::string_view second) const;

  // Always valid UTF-8. Ids out of range are left out.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const;

  // The bytes that a token stands for on its own; may be part of a character. Empty out of range.
  std::string token_bytes(std::int32_t id) const;

  // One more than the greatest id.
  int vocab_size() const;
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  // The token as the vocabulary writes it ("Ġthe"); empty for an id without token.
  const std::string& id_to_token(std::int32_t id) const;
  // Whether decode() leaves it out when it skips special tokens.
  bool is_special(std::int32_t id) const;

  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;
  // Empty when the model has none.
  const std::string& bos_token() const;
  const std::string& eos_token() const;
  const std::string& unk_token() const;
  const std::string& pad_token() const;
  // Whether encode() with add_special_tokens puts the start token first, the end token last.
  bool adds_bos() const;
  bool adds_eos() const;

  // For IncrementalDetokenizer. What the decoders are given for a token: the token, or the normal
  // form of an added token that is looked for in normalized text.
  const std::string& decoder_input(std::int32_t id) const;
  const Vocabulary& vocabulary() const;
  const DecoderPlan& decoder_plan() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);

  std::unique_ptr<const Parts> parts_;
};

}  // namespace tutti::text
