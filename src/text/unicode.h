// UTF-8 and the few properties of characters that tokenizers ask for.
//
// Character classes are those of Unicode as utf8proc knows them. Functions that take a
// std::string_view of text expect valid UTF-8 unless they say otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tutti::text {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// One step over bytes that may be anything. Invalid bytes are grouped as the WHATWG encoding
// standard and Unicode's "maximal subparts" do: each group becomes one U+FFFD.
struct Utf8Step {
  enum class Kind { kCharacter, kInvalid, kIncomplete } kind;
  int length;  // bytes; kIncomplete: all that is left
  char32_t character;
};
// `text` must not be empty.
Utf8Step next_utf8(std::string_view text);

bool is_valid_utf8(std::string_view text);
// Each invalid group of bytes becomes U+FFFD.
std::string repair_utf8(std::string_view text);

// repair_utf8 for bytes that come in pieces.
class Utf8Repairer {
 public:
  // Whole characters that are certain.
  std::string push(std::string_view bytes);
  // What is left, which is not a whole character, as U+FFFD; or nothing.
  std::string finish();

 private:
  std::string pending_;  // at most three bytes
};

void append_utf8(std::string& text, char32_t character);

// The character of valid UTF-8 at `position` and the bytes it takes.
struct CharAt {
  char32_t character;
  int length;
};
inline CharAt char_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

// Calls visit(character, begin, length) for each character of valid UTF-8.
template <typename Visitor>
void for_each_char(std::string_view text, Visitor&& visit) {
  for (std::size_t begin = 0; begin < text.size();) {
    const CharAt at = char_at(text, begin);
    visit(at.character, begin, at.length);
    begin += at.length;
  }
}

bool is_white_space(char32_t character);          // White_Space
bool is_word_character(char32_t character);       // \w: Alphabetic, M, Nd, Pc, Join_Control
bool is_number(char32_t character);               // Nd, Nl, No
bool is_mark(char32_t character);                 // Mn, Mc, Me
bool is_nonspacing_mark(char32_t character);      // Mn
bool is_unicode_punctuation(char32_t character);  // P*, and ASCII punctuation that is S*
bool is_control_or_format(char32_t character);    // Cc, Cf, Co
bool is_cjk_ideograph(char32_t character);        // the blocks that BERT isolates
// Full lower-case mapping of one character, without context.
void append_lowercase(std::string& text, char32_t character);

// GPT-2's alphabet: a printable character for each byte.
// "Ġ" for 0x20; the strings live as long as the program.
std::string_view byte_level_char(std::uint8_t byte);
// -1 for a character outside the alphabet.
int byte_level_byte(char32_t character);
// The bytes that a string in that alphabet spells; false when a character lies outside it.
bool from_byte_level(std::string_view text, std::string& bytes);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
// Linear in the length but for sorting runs of combining marks.
std::string normalize_unicode(std::string_view text, UnicodeForm form);

}  // namespace tutti::text
