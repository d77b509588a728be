#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <fstream>

#include "base/json.h"
#include "formats/safetensors.h"

namespace tutti::formats {

Status write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors) {
  json::object header;
  std::uint64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    header[tensor.name] = {
        {"dtype", json::string(to_string(tensor.dtype))},
        {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
        {"data_offsets", {offset, offset + tensor.bytes.size()}},
    };
    offset += tensor.bytes.size();
  }
  std::string text = json::serialize(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();

  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const TensorView& tensor : tensors) {
    file.write(reinterpret_cast<const char*>(tensor.bytes.data()),
               static_cast<std::streamsize>(tensor.bytes.size()));
  }
  file.close();
  if (file.fail()) {
    return Status(ErrorKind::kInvalidArgument, fmt::format("{}: cannot be written", path.string()));
  }
  return Status();
}

}  // namespace tutti::formats
