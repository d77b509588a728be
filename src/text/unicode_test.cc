#include "text/unicode.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>

namespace tutti::text {
namespace {

TEST(UnicodeTest, InvalidBytesBecomeOneReplacementForEachMaximalSubpart) {
  // The example of the Unicode standard, table 3-8, and neighbours.
  EXPECT_EQ(repair_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "��������A");
  EXPECT_EQ(repair_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "��������A");
  EXPECT_EQ(repair_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "�����A��B");
  EXPECT_EQ(repair_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "����A");
  EXPECT_EQ(repair_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

TEST(UnicodeTest, RepairingInPiecesEqualsRepairingTheWhole) {
  std::mt19937 random(2);
  const std::string alphabet = "a\x80\xBF\xC3\xE2\xED\xA0\xF0\x9F\x98\xF4\xFF";
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bytes(random() % 12, ' ');
    for (char& byte : bytes) byte = alphabet[random() % alphabet.size()];
    Utf8Repairer repairer;
    std::string repaired;
    for (const char byte : bytes) {
      const std::string piece = repairer.push(std::string_view(&byte, 1));
      ASSERT_TRUE(is_valid_utf8(piece));
      repaired += piece;
    }
    repaired += repairer.finish();
    ASSERT_EQ(repaired, repair_utf8(bytes));
    ASSERT_EQ(is_valid_utf8(bytes), repaired == bytes && bytes.find("\xEF\xBF\xBD") == bytes.npos);
  }
}

TEST(UnicodeTest, ByteLevelAlphabetIsOneToOne) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string_view character = byte_level_char(static_cast<std::uint8_t>(byte));
    EXPECT_EQ(byte_level_byte(char_at(character, 0).character), byte);
  }
  EXPECT_EQ(byte_level_char(' '), "Ġ");
  EXPECT_EQ(byte_level_char('\n'), "Ċ");
  EXPECT_EQ(byte_level_byte(U' '), -1);
  EXPECT_EQ(byte_level_byte(0x10FFFF), -1);
}

std::string utf8proc_form(const std::string& text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options));
  std::string result(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
  std::free(mapped);
  return result;
}

TEST(UnicodeTest, NormalFormsEqualTheWholeTextNormalizedAtOnce) {
  constexpr char32_t kCharacters[] = {'a',    'e',    'o',    ' ',     0xE9,   0x300,  0x301,
                                      0x316,  0x327,  0x1EA5, 0xAC00,  0xAC01, 0x1100, 0x1161,
                                      0x11A8, 0x4E2D, 0xFB01, 0x2460,  0xFF21, 0x212B, 0x3099,
                                      0x304B, 0x915,  0x93C,  0x1F600, 0x2126, 0xF900, 0x344};
  std::mt19937 random(5);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text;
    for (std::size_t i = random() % 10; i > 0; --i) {
      append_utf8(text, kCharacters[random() % std::size(kCharacters)]);
    }
    ASSERT_EQ(normalize_unicode(text, UnicodeForm::kNfc), utf8proc_form(text, UTF8PROC_COMPOSE))
        << text;
    ASSERT_EQ(normalize_unicode(text, UnicodeForm::kNfd), utf8proc_form(text, UTF8PROC_DECOMPOSE));
    ASSERT_EQ(normalize_unicode(text, UnicodeForm::kNfkc),
              utf8proc_form(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT));
    ASSERT_EQ(normalize_unicode(text, UnicodeForm::kNfkd),
              utf8proc_form(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT));
  }
}

TEST(UnicodeTest, MillionMarksInTheWorstOrderAreSorted) {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) text += i % 2 ? "\xCC\x96" : "\xCC\x81";  // classes 220, 230
  EXPECT_EQ(normalize_unicode(text, UnicodeForm::kNfd).substr(0, 5), "a\xCC\x96\xCC\x96");
}

}  // namespace
}  // namespace tutti::text
