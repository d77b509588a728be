#include "text/tokens/token_decoder.h"

#include <fmt/format.h>

#include "text/text_pattern.h"
#include "text/tokens/token_model.h"
#include "text/unicode.h"

namespace tutti::text {
namespace {

constexpr std::size_t kMaxStages = 32;

// Tokens joined with a space, when a tokenizer has no decoder.
class SpaceStage : public DecoderStage {
 public:
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    if (!is_first_) piece.text.insert(0, " ");
    is_first_ = false;
    out.push_back(std::move(piece));
  }

 private:
  bool is_first_ = true;
};

std::string byte_level_bytes(const std::string& token) {
  std::string bytes;
  return from_byte_level(token, bytes) ? bytes : token;
}

// All tokens become one, of their bytes.
class ByteLevelStage : public DecoderStage {
 public:
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    give(repairer_.push(byte_level_bytes(piece.text)), out);
  }
  void finish(std::vector<DecodedPiece>& out) override { give(repairer_.finish(), out); }

 private:
  void give(std::string text, std::vector<DecodedPiece>& out) {
    if (text.empty()) return;
    out.push_back({std::move(text), is_first_});
    is_first_ = false;
  }

  Utf8Repairer repairer_;
  bool is_first_ = true;
};

// A run of byte tokens becomes their text, or one U+FFFD for each byte if the whole run is not
// UTF-8. So a run is held back until it ends.
class ByteFallbackStage : public DecoderStage {
 public:
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    const int byte = parse_byte_token(piece.text);
    if (byte >= 0) {
      run_.push_back(static_cast<char>(byte));
      return;
    }
    finish(out);
    out.push_back(std::move(piece));
  }
  void finish(std::vector<DecodedPiece>& out) override {
    if (run_.empty()) return;
    if (is_valid_utf8(run_)) {
      out.push_back({run_, true});
    } else {
      for (std::size_t i = 0; i < run_.size(); ++i) {
        out.push_back({std::string(kReplacementUtf8), true});
      }
    }
    run_.clear();
  }

 private:
  std::string run_;
};

class FuseStage : public DecoderStage {
 public:
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    piece.begins_token = is_first_;
    is_first_ = false;
    out.push_back(std::move(piece));
  }

 private:
  bool is_first_ = true;
};

// Works on whole tokens: collects the pieces of one. Behind a stage that fuses, that is all text.
class WholeTokenStage : public DecoderStage {
 public:
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) final {
    if (piece.begins_token) {
      finish(out);
      has_token_ = true;
    }
    token_ += piece.text;
  }
  void finish(std::vector<DecodedPiece>& out) final {
    if (has_token_) out.push_back({change(std::exchange(token_, {})), true});
    has_token_ = false;
  }

 protected:
  virtual std::string change(std::string token) = 0;

 private:
  std::string token_;
  bool has_token_ = false;
};

// Changes each token on its own, without waiting for the next: for stages that come before any that
// fuses.
class TokenStage : public DecoderStage {
 public:
  using Function = std::function<std::string(std::string, bool is_first)>;
  explicit TokenStage(Function function) : function_(std::move(function)) {}
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    piece.text = function_(std::move(piece.text), is_first_);
    is_first_ = false;
    out.push_back(std::move(piece));
  }

 private:
  Function function_;
  bool is_first_ = true;
};

class FusedTokenStage : public WholeTokenStage {
 public:
  explicit FusedTokenStage(TokenStage::Function function) : function_(std::move(function)) {}

 protected:
  std::string change(std::string token) override {
    return function_(std::move(token), std::exchange(is_first_, false));
  }

 private:
  TokenStage::Function function_;
  bool is_first_ = true;
};

// Takes up to `start` copies of a character from a token's start, up to `stop` from its end; of a
// token that comes in pieces it holds back only the copies at its end.
class StripStage : public DecoderStage {
 public:
  explicit StripStage(const decoder::Strip& spec) : spec_(spec) {}

  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    if (piece.begins_token) {
      finish(out);
      is_open_ = true;
      is_given_ = false;
      num_to_strip_ = spec_.start;
    }
    held_ += piece.text;
    while (num_to_strip_ > 0 && held_.starts_with(spec_.content)) {
      held_.erase(0, spec_.content.size());
      --num_to_strip_;
    }
    if (!held_.empty()) num_to_strip_ = 0;
    std::size_t keep = held_.size();
    for (int i = 0; i < spec_.stop && held_.substr(0, keep).ends_with(spec_.content); ++i) {
      keep -= spec_.content.size();
    }
    give(held_.substr(0, keep), out);
    held_.erase(0, keep);
  }
  void finish(std::vector<DecodedPiece>& out) override {
    // What is held is `stop` copies at most: they go. A token without text is still a token.
    if (is_open_ && !is_given_) out.push_back({"", true});
    held_.clear();
    is_open_ = false;
  }

 private:
  void give(std::string text, std::vector<DecodedPiece>& out) {
    if (text.empty()) return;
    out.push_back({std::move(text), !is_given_});
    is_given_ = true;
  }

  decoder::Strip spec_;
  std::string held_;
  int num_to_strip_ = 0;
  bool is_open_ = false;
  bool is_given_ = false;
};

// A suffix marks the end of a word and becomes a space, but at the end of the text.
class BpeStage : public DecoderStage {
 public:
  explicit BpeStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void push(DecodedPiece piece, std::vector<DecodedPiece>& out) override {
    give(" ", out);
    held_ = std::move(piece);
  }
  void finish(std::vector<DecodedPiece>& out) override { give("", out); }

 private:
  void give(std::string_view replacement, std::vector<DecodedPiece>& out) {
    if (!held_) return;
    std::string text;
    std::string_view rest = held_->text;
    for (std::size_t at = rest.find(suffix_); !suffix_.empty() && at != std::string_view::npos;
         at = rest.find(suffix_)) {
      text += rest.substr(0, at);
      text += replacement;
      rest.remove_prefix(at + suffix_.size());
    }
    text += rest;
    out.push_back({std::move(text), held_->begins_token});
    held_.reset();
  }

  std::string suffix_;
  std::optional<DecodedPiece> held_;
};

void replace_in_place(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// English contractions and punctuation that WordPiece set apart.
std::string clean_up(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) replace_in_place(text, from, to);
  return text;
}

std::string word_piece(std::string token, bool is_first, const decoder::WordPiece& spec) {
  if (!is_first) {
    if (token.starts_with(spec.prefix)) {
      token.erase(0, spec.prefix.size());
    } else {
      token.insert(0, " ");
    }
  }
  return spec.cleanup ? clean_up(std::move(token)) : token;
}

std::string metaspace(std::string token, bool is_first, const decoder::Metaspace& spec) {
  const bool removes = is_first && spec.prepend_scheme != PrependScheme::kNever;
  replace_in_place(token, spec.replacement, removes ? "" : " ");
  return token;
}

}  // namespace

// Adds what one spec stands for. One overload for each decoder.
struct DecoderPlan::Build {
  DecoderPlan& plan;
  bool& is_fused;  // tokens come in pieces from here on

  void add(StageFactory factory) const { plan.factories_.push_back(std::move(factory)); }
  // `works_on_pieces`: what it makes of a token is what it makes of its pieces.
  void add_function(const TokenStage::Function& function, bool works_on_pieces) const {
    if (is_fused && !works_on_pieces) {
      add([function] { return std::make_unique<FusedTokenStage>(function); });
      is_fused = false;
    } else {
      add([function] { return std::make_unique<TokenStage>(function); });
    }
    plan.bytes_functions_.push_back(
        [function](std::string token) { return function(std::move(token), false); });
  }

  Status operator()(const decoder::ByteLevel&) const {
    add([] { return std::make_unique<ByteLevelStage>(); });
    plan.bytes_functions_.push_back(byte_level_bytes);
    is_fused = true;
    return {};
  }
  Status operator()(const decoder::Replace& spec) const {
    TUTTI_ASSIGN_OR_RETURN(TextPattern compiled, TextPattern::compile(spec.pattern));
    auto pattern = std::make_shared<const TextPattern>(std::move(compiled));
    // Pieces are whole characters: what looks for one character need not wait for the whole text.
    const bool is_character =
        !spec.pattern.is_regex && !spec.pattern.text.empty() && is_valid_utf8(spec.pattern.text) &&
        static_cast<std::size_t>(char_at(spec.pattern.text, 0).length) == spec.pattern.text.size();
    add_function(
        [pattern, content = spec.content](const std::string& token, bool) {
          return pattern->replace_all(token, content);
        },
        is_character);
    return {};
  }
  Status operator()(const decoder::ByteFallback&) const {
    if (is_fused) return unsupported("decoder: ByteFallback behind Fuse is not supported");
    add([] { return std::make_unique<ByteFallbackStage>(); });
    plan.bytes_functions_.push_back([](const std::string& token) {
      const int byte = parse_byte_token(token);
      return byte < 0 ? token : std::string(1, static_cast<char>(byte));
    });
    return {};
  }
  Status operator()(const decoder::Fuse&) const {
    add([] { return std::make_unique<FuseStage>(); });
    is_fused = true;
    return {};
  }
  Status operator()(const decoder::Strip& spec) const {
    if (spec.content.empty()) return invalid_argument("decoder", "decoder Strip without content");
    add([spec] { return std::make_unique<StripStage>(spec); });
    return {};
  }
  Status operator()(const decoder::Metaspace& spec) const {
    add_function([spec](std::string token,
                        bool is_first) { return metaspace(std::move(token), is_first, spec); },
                 false);
    return {};
  }
  Status operator()(const decoder::WordPiece& spec) const {
    if (is_fused) return unsupported("decoder: WordPiece behind Fuse is not supported");
    add([spec] {
      return std::make_unique<TokenStage>([spec](std::string token, bool is_first) {
        return word_piece(std::move(token), is_first, spec);
      });
    });
    // A token alone does not tell whether a space comes before it; its own bytes are meant.
    plan.bytes_functions_.push_back([prefix = spec.prefix](const std::string& token) {
      return token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
    });
    return {};
  }
  Status operator()(const decoder::Bpe& spec) const {
    if (is_fused) return unsupported("decoder: BPEDecoder behind Fuse is not supported");
    add([spec] { return std::make_unique<BpeStage>(spec.suffix); });
    plan.bytes_functions_.push_back([spec](std::string token) {
      if (!spec.suffix.empty()) replace_in_place(token, spec.suffix, " ");
      return token;
    });
    return {};
  }
};

Result<DecoderPlan> DecoderPlan::create(const std::optional<std::vector<DecoderSpec>>& specs) {
  DecoderPlan plan;
  if (!specs) {
    plan.factories_.push_back([] { return std::make_unique<SpaceStage>(); });
    return plan;
  }
  if (specs->size() > kMaxStages) {
    return invalid_argument(
        "decoder", fmt::format("{} decoders in sequence; at most {}", specs->size(), kMaxStages));
  }
  bool is_fused = false;
  for (const DecoderSpec& spec : *specs) {
    TUTTI_RETURN_IF_ERROR(std::visit(Build{plan, is_fused}, spec));
  }
  return plan;
}

DecoderStages DecoderPlan::make_stages() const {
  std::vector<std::unique_ptr<DecoderStage>> stages;
  for (const StageFactory& factory : factories_) stages.push_back(factory());
  return DecoderStages(std::move(stages));
}

std::string DecoderPlan::token_bytes(const std::string& token) const {
  std::string bytes = token;
  for (const BytesFunction& function : bytes_functions_) bytes = function(std::move(bytes));
  return bytes;
}

std::string DecoderStages::run(std::vector<DecodedPiece> pieces, std::size_t first_stage) {
  for (std::size_t i = first_stage; i < stages_.size(); ++i) {
    std::vector<DecodedPiece> out;
    for (DecodedPiece& piece : pieces) stages_[i]->push(std::move(piece), out);
    pieces = std::move(out);
  }
  std::string text;
  for (const DecodedPiece& piece : pieces) text += piece.text;
  return text;
}

std::string DecoderStages::push(const std::string& token) {
  std::vector<DecodedPiece> pieces;
  pieces.push_back({token, true});
  return run(std::move(pieces), 0);
}

std::string DecoderStages::finish() {
  std::string text;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    std::vector<DecodedPiece> pieces;
    stages_[i]->finish(pieces);
    text += run(std::move(pieces), i + 1);
  }
  return text;
}

}  // namespace tutti::text
