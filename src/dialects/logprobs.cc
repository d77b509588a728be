#include "dialects/logprobs.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

namespace tutti::dialects {
namespace {

constexpr double kLowestLogprob = -9999.0;

json::object one_token(const TokenText& token) {
  json::array bytes;
  bytes.reserve(token.bytes.size());
  for (unsigned char byte : token.bytes) bytes.emplace_back(static_cast<int>(byte));
  return {{"token", token.text},
          {"logprob", finite_logprob(token.logprob)},
          {"bytes", std::move(bytes)}};
}

// Characters that begin in `bytes`; the halves of a split character count once.
std::int64_t count_characters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

double finite_logprob(float logprob) {
  return std::isnan(logprob) ? kLowestLogprob : std::clamp<double>(logprob, kLowestLogprob, 0.0);
}

json::object token_logprob(const OutputToken& token) {
  json::object object = one_token(token.token);
  json::array top;
  for (const TokenText& other : token.top) top.push_back(one_token(other));
  object["top_logprobs"] = std::move(top);
  return object;
}

json::object CompletionLogprobs::next(const std::vector<OutputToken>& tokens) {
  json::array offsets, logprobs, texts, tops;
  for (const OutputToken& token : tokens) {
    offsets.emplace_back(num_characters_);
    num_characters_ += count_characters(token.token.bytes);
    texts.emplace_back(token.token.text);
    logprobs.emplace_back(finite_logprob(token.token.logprob));
    // Several tokens may show the same text; the best of them stays.
    json::object top;
    const std::size_t count =
        std::min(token.top.size(), static_cast<std::size_t>(std::max(top_logprobs_, 0)));
    for (std::size_t i = 0; i < count; ++i) {
      top.emplace(token.top[i].text, finite_logprob(token.top[i].logprob));
    }
    top.emplace(token.token.text, finite_logprob(token.token.logprob));
    tops.push_back(std::move(top));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(texts)},
          {"top_logprobs", std::move(tops)}};
}

}  // namespace tutti::dialects
