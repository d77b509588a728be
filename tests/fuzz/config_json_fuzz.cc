// The JSON files beside a model's weights, from any bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/chat_template_files.h"
#include "formats/generation_config.h"
#include "formats/model_source.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti::formats;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto object = parse_config_json(text, "config.json");
  if (!object.ok()) return 0;
  (void)parse_generation_config(*object, "generation_config.json");
  (void)chat_templates_of("/nonexistent", *object).ok();
  return 0;
}
