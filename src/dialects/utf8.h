// Text that may go into a response.
#pragma once

#include <string>
#include <string_view>

namespace tutti::dialects {

// `text` with every byte that is not part of a well-formed UTF-8 sequence (Unicode 15, table 3-7)
// replaced by U+FFFD, so that the JSON it goes into is valid whatever a message was cut from.
std::string well_formed_utf8(std::string_view text);

}  // namespace tutti::dialects
