#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

namespace tutti::text {
namespace {

utf8proc_category_t category(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

// Bytes that may follow `first` in second place, and the length of the sequence; length 0 for a
// byte that begins nothing (Unicode 15, table 3-7).
struct LeadByte {
  int length;
  unsigned char second_min;
  unsigned char second_max;
};
LeadByte lead_byte(unsigned char first) {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xC2) return {0, 0, 0};
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first < 0xF0) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first < 0xF4) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

struct ByteLevelAlphabet {
  std::array<std::string, 256> characters;
  std::array<int, 512> bytes;  // by character

  ByteLevelAlphabet() {
    bytes.fill(-1);
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
                             (byte >= 0xAE && byte <= 0xFF);
      const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
      append_utf8(characters[byte], character);
      bytes[character] = byte;
    }
  }
};

const ByteLevelAlphabet& byte_level_alphabet() {
  static const ByteLevelAlphabet alphabet;
  return alphabet;
}

}  // namespace

Utf8Step next_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const LeadByte lead = lead_byte(byte(0));
  if (lead.length == 1) return {Utf8Step::Kind::kCharacter, 1, byte(0)};
  if (lead.length == 0) return {Utf8Step::Kind::kInvalid, 1, kReplacementCharacter};
  char32_t character = byte(0) & (0xFF >> (lead.length + 1));
  for (int i = 1; i < lead.length; ++i) {
    if (static_cast<std::size_t>(i) == text.size()) {
      return {Utf8Step::Kind::kIncomplete, i, kReplacementCharacter};
    }
    const unsigned char low = i == 1 ? lead.second_min : 0x80;
    const unsigned char high = i == 1 ? lead.second_max : 0xBF;
    if (byte(i) < low || byte(i) > high) {
      return {Utf8Step::Kind::kInvalid, i, kReplacementCharacter};
    }
    character = character << 6 | (byte(i) & 0x3F);
  }
  return {Utf8Step::Kind::kCharacter, lead.length, character};
}

bool is_valid_utf8(std::string_view text) {
  for (std::size_t begin = 0; begin < text.size();) {
    if (static_cast<unsigned char>(text[begin]) < 0x80) {
      ++begin;
      continue;
    }
    const Utf8Step step = next_utf8(text.substr(begin));
    if (step.kind != Utf8Step::Kind::kCharacter) return false;
    begin += step.length;
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  Utf8Repairer repairer;
  std::string result = repairer.push(text);
  result += repairer.finish();
  return result;
}

std::string Utf8Repairer::push(std::string_view bytes) {
  std::string joined;
  if (!pending_.empty()) {
    joined = std::move(pending_);
    joined += bytes;
    bytes = joined;
    pending_.clear();
  }
  std::string result;
  result.reserve(bytes.size());
  for (std::size_t begin = 0; begin < bytes.size();) {
    const Utf8Step step = next_utf8(bytes.substr(begin));
    if (step.kind == Utf8Step::Kind::kIncomplete) {
      pending_ = bytes.substr(begin);
      break;
    }
    result += step.kind == Utf8Step::Kind::kCharacter ? bytes.substr(begin, step.length)
                                                      : kReplacementUtf8;
    begin += step.length;
  }
  return result;
}

std::string Utf8Repairer::finish() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacementUtf8);
}

void append_utf8(std::string& text, char32_t character) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | character >> 6);
    put(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    put(0xE0 | character >> 12);
    put(0x80 | (character >> 6 & 0x3F));
    put(0x80 | (character & 0x3F));
  } else {
    put(0xF0 | character >> 18);
    put(0x80 | (character >> 12 & 0x3F));
    put(0x80 | (character >> 6 & 0x3F));
    put(0x80 | (character & 0x3F));
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c | 0x20) - 'a' < 26 || c == '_';
  // Other_Alphabetic beyond marks: circled and squared letters; and Join_Control.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C ||
      c == 0x200D) {
    return true;
  }
  const utf8proc_category_t kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NL) ||
         kind == UTF8PROC_CATEGORY_PC;
}

bool is_number(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}

bool is_mark(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_MN && kind <= UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }

bool is_unicode_punctuation(char32_t c) {
  if (c < 0x80) return c > 0x20 && c < 0x7F && (!is_word_character(c) || c == '_');
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

bool is_control_or_format(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_CO;
}

bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void append_lowercase(std::string& text, char32_t c) {
  if (c == 0x130) {  // the one character whose unconditional mapping is two characters
    text += "i\xCC\x87";
    return;
  }
  append_utf8(text, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

std::string_view byte_level_char(std::uint8_t byte) {
  return byte_level_alphabet().characters[byte];
}

int byte_level_byte(char32_t character) {
  const ByteLevelAlphabet& alphabet = byte_level_alphabet();
  return character < alphabet.bytes.size() ? alphabet.bytes[character] : -1;
}

bool from_byte_level(std::string_view text, std::string& bytes) {
  bytes.clear();
  bool all_known = true;
  for_each_char(text, [&](char32_t character, std::size_t, int) {
    const int byte = byte_level_byte(character);
    all_known = all_known && byte >= 0;
    bytes.push_back(static_cast<char>(byte));
  });
  return all_known;
}

}  // namespace tutti::text
