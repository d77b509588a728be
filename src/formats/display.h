// Names from untrusted files, made fit for a message or for JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tutti::formats {

// At most 100 bytes of a name; bytes that are not printable ASCII become \xNN, so that a file
// cannot write to a terminal. "…" stands for what was cut.
std::string display(std::string_view name);

// The text as valid UTF-8: each byte that begins no valid sequence becomes U+FFFD. At most
// `max_bytes` of the text (whole characters) are taken, then "…" is put.
std::string valid_utf8(std::string_view text, std::size_t max_bytes);

}  // namespace tutti::formats
