// A tokenizer.json from any bytes: parse it and, if it makes a tokenizer, encode and decode a
// little.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/tokenizer_json.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

void encode_and_decode(const tutti::text::Tokenizer& tokenizer, std::string_view text) {
  const tutti::text::TextSpan literal{1, text.size() / 2};
  const std::vector<std::int32_t> ids = tokenizer.encode(text, {}, {{literal}});
  tutti::text::IncrementalDetokenizer detokenizer(tokenizer, false);
  std::string streamed;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    streamed += detokenizer.push(id);
    (void)tokenizer.token_bytes(id);
  }
  streamed += detokenizer.finish();
  if (streamed != tokenizer.decode(ids, false)) std::abort();
  if (!tutti::text::is_valid_utf8(streamed)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto spec = tutti::formats::parse_tokenizer_json(bytes);
  if (!spec.ok()) return 0;
  const auto tokenizer = tutti::text::Tokenizer::create(std::move(*spec));
  if (!tokenizer.ok()) return 0;
  encode_and_decode(**tokenizer, "Hello  w\xC3\xB6rld <s>\n\xF0\x9F\x98\x80 don't 123\xFF</s>");
  encode_and_decode(**tokenizer, bytes.substr(0, 256));
  return 0;
}
