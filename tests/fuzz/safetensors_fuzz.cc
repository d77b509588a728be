// A safetensors file from any bytes: parse it, and read every small tensor.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/safetensors.h"
#include "tensor/dequantize.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using tutti::formats::SafetensorsFile;
  constexpr std::int64_t kMaxValues = 1 << 16;
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  for (const tutti::TensorView& tensor : file->tensors()) {
    if (tensor.num_values() <= kMaxValues) (void)tutti::dequantize(tensor).ok();
    if (file->find_tensor(tensor.name) != &tensor) __builtin_trap();
  }
  return 0;
}
