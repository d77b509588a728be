// Which characters belong to one script, as pre-tokenizers that keep scripts apart see it.
#pragma once

namespace tutti::text {

// Goes with the text on either side: spaces, and what Unicode 9.0 does not assign.
inline constexpr int kAnyScript = 0;

// The script of a character by Unicode 9.0, with Hiragana, Katakana and Han as one; kAnyScript or a
// number above it. The numbers have no meaning but to differ.
int unicode_script(char32_t character);

}  // namespace tutti::text
