#include <fmt/format.h>

#include "text/tokens/token_model.h"

namespace tutti::text {

ByteTokens::ByteTokens(const Vocabulary& vocabulary) {
  for (int byte = 0; byte < 256; ++byte) {
    ids_[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

bool ByteTokens::append(std::string_view bytes, std::vector<std::int32_t>& ids) const {
  const std::size_t old_size = ids.size();
  for (const char byte : bytes) {
    const std::int32_t byte_id = id(static_cast<unsigned char>(byte));
    if (byte_id < 0) {
      ids.resize(old_size);
      return false;
    }
    ids.push_back(byte_id);
  }
  return true;
}

int parse_byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char digit : token.substr(3, 2)) {
    if (digit >= '0' && digit <= '9') {
      value = value * 16 + (digit - '0');
    } else if (digit >= 'A' && digit <= 'F') {
      value = value * 16 + (digit - 'A' + 10);
    } else if (digit >= 'a' && digit <= 'f') {
      value = value * 16 + (digit - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

}  // namespace tutti::text
