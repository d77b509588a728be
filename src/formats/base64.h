// Base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tutti::formats {

// nullopt for a character outside the alphabet or a wrong length; padding is required.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace tutti::formats
