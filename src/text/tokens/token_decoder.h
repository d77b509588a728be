// The decoders of a tokenizer as stages that a stream of tokens runs through.
//
// A token goes in whole and comes out as pieces; a stage that fuses tokens marks what it gives out
// as going on. Every stage gives out a piece as soon as it can no longer change, so that a stream
// and the whole text are decoded by the same code.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace tutti::text {

// Part of a token's text, or all of it.
struct DecodedPiece {
  std::string text;
  bool begins_token = true;  // false: goes on with the token of the piece before
};

// One decoder at work. Thread safety: one thread at a time.
class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual void push(DecodedPiece piece, std::vector<DecodedPiece>& out) = 0;
  // The stream has ended.
  virtual void finish(std::vector<DecodedPiece>&) {}
};

// All stages of one stream. Thread safety: one thread at a time.
class DecoderStages {
 public:
  explicit DecoderStages(std::vector<std::unique_ptr<DecoderStage>> stages)
      : stages_(std::move(stages)) {}

  std::string push(const std::string& token);
  std::string finish();

 private:
  // Runs `pieces` through the stages from `first_stage` on.
  std::string run(std::vector<DecodedPiece> pieces, std::size_t first_stage);

  std::vector<std::unique_ptr<DecoderStage>> stages_;
};

// The compiled decoders.
// Thread safety: immutable after construction.
class DecoderPlan {
 public:
  // Errors: a pattern that does not compile, a list that is too long.
  static Result<DecoderPlan> create(const std::optional<std::vector<DecoderSpec>>& specs);

  // For a new stream; the plan must outlive it.
  DecoderStages make_stages() const;
  // The bytes that one token stands for wherever it is (no stripping at the start of the text).
  std::string token_bytes(const std::string& token) const;

 private:
  using StageFactory = std::function<std::unique_ptr<DecoderStage>()>;
  using BytesFunction = std::function<std::string(std::string)>;

  struct Build;

  std::vector<StageFactory> factories_;
  std::vector<BytesFunction> bytes_functions_;
};

}  // namespace tutti::text
