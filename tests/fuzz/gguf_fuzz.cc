// A GGUF from any bytes: parse it, then read every value in every way and every small tensor.
#include <boost/json/serialize.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/chat_template_files.h"
#include "formats/generation_config.h"
#include "formats/gguf.h"
#include "formats/gguf_vocab.h"
#include "tensor/dequantize.h"
#include "text/tokenizer.h"

namespace {
using tutti::formats::GgufFile;

constexpr std::int64_t kMaxValues = 1 << 16;

void read_every_value(const GgufFile& file) {
  for (const std::string& key : file.keys()) {
    (void)file.get_uint(key).ok();
    (void)file.get_u32(key).ok();
    (void)file.get_int(key).ok();
    (void)file.get_float(key).ok();
    (void)file.get_bool(key).ok();
    (void)file.get_string(key).ok();
    (void)file.get_strings(key).ok();
    (void)file.get_floats(key).ok();
    (void)file.get_ints(key).ok();
    (void)file.get_bools(key).ok();
    (void)boost::json::serialize(file.value_as_json(key));
  }
}

void use_the_vocabulary(const GgufFile& file) {
  auto spec = tutti::formats::gguf_vocab(file);
  if (!spec.ok()) return;
  const auto tokenizer = tutti::text::Tokenizer::create(*std::move(spec));
  if (!tokenizer.ok()) return;
  (void)(*tokenizer)->decode((*tokenizer)->encode("Hello, \xE4\xBD\xA0\xE5\xA5\xBD!  <s>"), false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!file.ok()) return 0;
  read_every_value(*file);
  (void)tutti::formats::generation_config_of(*file);
  (void)tutti::formats::chat_templates_of(*file).ok();
  use_the_vocabulary(*file);
  for (const tutti::TensorView& tensor : file->tensors()) {
    if (tensor.num_values() <= kMaxValues) (void)tutti::dequantize(tensor).ok();
    if (file->find_tensor(tensor.name) != &tensor) __builtin_trap();
  }
  return 0;
}
