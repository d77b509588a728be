// Patterns as the models' own tokenizer.json have them; where llama.cpp writes one otherwise, for
// want of an operator, the original stands here.
#include "formats/gguf_pre_tokenizers.h"

#include <algorithm>
#include <array>

namespace tutti::formats {
namespace {

// clang-format off
#define TUTTI_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define TUTTI_TAIL R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define TUTTI_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define TUTTI_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define TUTTI_UPPER_NOT_HAN R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
#define TUTTI_LOWER_NOT_HAN R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
#define TUTTI_NOT_WORD R"([^\r\n\p{L}\p{N}]?)"
#define TUTTI_GPT2 R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"
// clang-format on

using Pattern = std::string_view;

constexpr Pattern kGpt2[] = {TUTTI_GPT2};
constexpr Pattern kLlama3[] = {TUTTI_CONTRACTIONS "|" TUTTI_NOT_WORD
                                                  R"(\p{L}+|\p{N}{1,3})" TUTTI_TAIL};
constexpr Pattern kQwen2[] = {TUTTI_CONTRACTIONS "|" TUTTI_NOT_WORD R"(\p{L}+|\p{N})" TUTTI_TAIL};
constexpr Pattern kQwen35[] = {
    TUTTI_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)"
                       R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Pattern kSeedCoder[] = {
    TUTTI_CONTRACTIONS "|" TUTTI_NOT_WORD
                       R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Pattern kBailingMoe[] = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Pattern kGpt4o[] = {TUTTI_NOT_WORD TUTTI_UPPER
                              "*" TUTTI_LOWER "+" TUTTI_CONTRACTIONS "?|" TUTTI_NOT_WORD TUTTI_UPPER
                              "+" TUTTI_LOWER "*" TUTTI_CONTRACTIONS
                              "?"
                              R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Pattern kTekken[] = {TUTTI_NOT_WORD TUTTI_UPPER
                               "*" TUTTI_LOWER "+|" TUTTI_NOT_WORD TUTTI_UPPER "+" TUTTI_LOWER
                               "*"
                               R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Pattern kKimiK2[] = {R"([\p{Han}]+|)" TUTTI_NOT_WORD TUTTI_UPPER_NOT_HAN
                               "*" TUTTI_LOWER_NOT_HAN "+" TUTTI_CONTRACTIONS
                               "?|" TUTTI_NOT_WORD TUTTI_UPPER_NOT_HAN "+" TUTTI_LOWER_NOT_HAN
                               "*" TUTTI_CONTRACTIONS
                               "?"
                               R"(|\p{N}{1,3})" TUTTI_TAIL};
constexpr Pattern kStarcoder[] = {R"(\p{N})", TUTTI_GPT2};
constexpr Pattern kBloom[] = {R"( ?[^(\s|.,!?…。，、।۔،)]+)"};
constexpr Pattern kViking[] = {R"( ?[^(\s|.,!?…。，、।۔،)]+)", R"(\p{N})"};
constexpr Pattern kDeepseek3[] = {
    R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Pattern kDeepseekCoder[] = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                      R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"};
constexpr Pattern kDeepseekLlm[] = {
    R"([\r\n])",
    // One class in three literals. NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ)"
    R"(ὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛ)"
    R"(Ꜣ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ\x{10400}-\x{1044f}𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)",
    R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"};
constexpr Pattern kFalcon[] = {R"([\p{P}\$\+<=>\^~\|`]+)", TUTTI_GPT2, R"([0-9][0-9][0-9])"};
constexpr Pattern kDefaultPatterns[] = {R"([\p{P}\$\+<=>\^~\|]+)", TUTTI_GPT2, R"(\p{N}+)",
                                        R"([0-9][0-9][0-9])"};

constexpr GgufPreTokenizer kPreTokenizers[] = {
    {.name = "default", .patterns = kDefaultPatterns},
    {.name = "llama3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-bpe", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon-h1", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "pixtral", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "midm-2.0", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .patterns = kLlama3},
    {.name = "smaug-bpe", .patterns = kLlama3},
    {.name = "glm4", .patterns = kLlama3},
    {.name = "chatglm-bpe", .patterns = kLlama3},
    {.name = "qwen2", .patterns = kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = kQwen2, .nfc = true},
    {.name = "kormo", .patterns = kQwen2, .nfc = true},
    {.name = "megrez", .patterns = kQwen2, .nfc = true},
    {.name = "stablelm2", .patterns = kQwen2},
    {.name = "hunyuan", .patterns = kQwen2},
    {.name = "grok-2", .patterns = kQwen2},
    {.name = "solar-open", .patterns = kQwen2},
    {.name = "qwen35", .patterns = kQwen35, .nfc = true},
    {.name = "seed-coder", .patterns = kSeedCoder},
    {.name = "bailingmoe", .patterns = kBailingMoe},
    {.name = "bailingmoe2", .patterns = kBailingMoe},
    {.name = "llada-moe", .patterns = kBailingMoe},
    {.name = "gpt-4o", .patterns = kGpt4o},
    {.name = "llama4", .patterns = kGpt4o},
    {.name = "o200k", .patterns = kGpt4o},
    {.name = "minimax-m2", .patterns = kGpt4o},
    {.name = "tekken", .patterns = kTekken, .ignore_merges = true, .add_bos = true},
    {.name = "kimi-k2", .patterns = kKimiK2},
    {.name = "gpt-2", .patterns = kGpt2},
    {.name = "gpt2", .patterns = kGpt2},
    {.name = "phi-2", .patterns = kGpt2},
    {.name = "jina-es", .patterns = kGpt2},
    {.name = "jina-de", .patterns = kGpt2},
    {.name = "jina-v2-es", .patterns = kGpt2},
    {.name = "jina-v2-de", .patterns = kGpt2},
    {.name = "jina-v1-en", .patterns = kGpt2},
    {.name = "jina-v2-code", .patterns = kGpt2},
    {.name = "roberta-bpe", .patterns = kGpt2},
    {.name = "gigachat", .patterns = kGpt2},
    {.name = "a.x-4.0", .patterns = kGpt2},
    {.name = "mellum", .patterns = kGpt2},
    {.name = "mpt", .patterns = kGpt2},
    {.name = "olmo", .patterns = kGpt2},
    {.name = "jais", .patterns = kGpt2},
    {.name = "trillion", .patterns = kGpt2},
    {.name = "granite-docling", .patterns = kGpt2},
    {.name = "exaone4", .patterns = kGpt2},
    {.name = "starcoder", .patterns = kStarcoder},
    {.name = "refact", .patterns = kStarcoder},
    {.name = "command-r", .patterns = kStarcoder},
    {.name = "smollm", .patterns = kStarcoder},
    {.name = "codeshell", .patterns = kStarcoder},
    {.name = "exaone", .patterns = kStarcoder},
    {.name = "minerva-7b", .patterns = kStarcoder},
    {.name = "granite", .patterns = kStarcoder},
    {.name = "bloom", .patterns = kBloom},
    {.name = "poro-chat", .patterns = kBloom},
    {.name = "gpt3-finnish", .patterns = kBloom},
    {.name = "viking", .patterns = kViking},
    {.name = "deepseek-v3", .patterns = kDeepseek3},
    {.name = "hunyuan-dense", .patterns = kDeepseek3},
    {.name = "joyai-llm", .patterns = kDeepseek3},
    {.name = "deepseek-coder", .patterns = kDeepseekCoder},
    {.name = "deepseek-llm", .patterns = kDeepseekLlm},
    {.name = "falcon", .patterns = kFalcon},
};

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPreTokenizers), std::end(kPreTokenizers),
                                   [&](const GgufPreTokenizer& p) { return p.name == name; });
  return found == std::end(kPreTokenizers) ? nullptr : found;
}

}  // namespace tutti::formats
