// Files that lie: each seed of tests/fuzz/corpus/{gguf,safetensors} (made and described by
// tests/fuzz/make_model_corpus.py) gives the error stated here, naming what is wrong and the bound.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tests/support/goldens.h"

namespace tutti::formats {
namespace {
namespace fs = std::filesystem;
using ::testing::HasSubstr;

// What the message of each refused file must contain. "" for a file that opens.
using Expectations = std::map<std::string, std::string>;

const Expectations kGguf = {
    {"valid_v3", ""},
    {"valid_v2", ""},
    {"valid_metadata_only", ""},
    {"valid_empty", ""},
    {"valid_tokens_of_wrong_type", ""},
    {"valid_token_byte_negative", ""},
    {"valid_odd_numbers", ""},
    {"empty_file", "does not begin with \"GGUF\""},
    {"magic_only", "the file ends within the version, at byte 4"},
    {"magic_wrong", "does not begin with \"GGUF\""},
    {"version_1", "GGUF version 1; versions 2 and 3 are supported"},
    {"version_4", "GGUF version 4; versions 2 and 3 are supported"},
    {"big_endian", "only little-endian"},
    {"tensor_count_2_63", "declares 9223372036854775808 tensors, more than the limit of 1048576"},
    {"tensor_count_over_file", "declares 1000 tensors, but only 0 bytes follow"},
    {"pair_count_2_64", "metadata keys, more than the limit of 65536"},
    {"pair_count_over_file", "declares 1000 metadata keys, but only 45 bytes follow"},
    {"key_length_2_63", "metadata key 0 is 9223372036854775808 bytes long, more than the limit of"},
    {"key_length_over_file", "metadata key 0 is 60000 bytes long, but only 19 bytes follow"},
    {"key_empty", "metadata key 0 is empty"},
    {"key_twice", "metadata key \"general.architecture\" occurs twice"},
    {"string_length_2_63", "key \"key\": the value is 9223372036854775808 bytes long, more than"},
    {"string_length_over_file", "key \"key\": the value is 1000 bytes long, but only 5 bytes"},
    {"value_type_13", "key \"key\": value type is 13, must be in 0..12"},
    {"value_cut", "key \"key\": the file ends within the value"},
    {"bool_is_2", "key \"flag\": a bool is 2, must be 0 or 1"},
    {"array_of_arrays", "key \"key\": arrays of arrays are not supported"},
    {"array_type_99", "key \"key\": array's element type is 99, must be in 0..12"},
    {"array_count_2_61", "key \"key\": declares 2305843009213693952 array elements, more than"},
    {"array_count_2_64", "key \"key\": declares 18446744073709551615 array elements, more than"},
    {"array_count_over_file", "key \"key\": declares 1000 array elements, but only 8 bytes follow"},
    {"array_string_length_2_63", "key \"key\": element 1: the array's string is 92233720368547758"},
    {"alignment_2_31", "\"general.alignment\" is 2147483648, must be a power of two in 8..1048576"},
    {"alignment_0", "\"general.alignment\" is 0, must be a power of two"},
    {"alignment_48", "\"general.alignment\" is 48, must be a power of two"},
    {"alignment_text", "\"general.alignment\" must be a u32"},
    {"tensor_of_1_gib",
     "tensor w: 1073741824 bytes at offset 0 of the data section, which has 896"},
    {"dimensions_wrap", "tensor w: the product of its dimensions [8589934592, 8589934592] is over"},
    {"dimensions_wrap_to_small", "tensor w: the product of its dimensions"},
    {"bytes_wrap", "tensor w: its size, [4611686018427387904] of type F32, is over 2^63-1 bytes"},
    {"dimension_0", "tensor w: dimension 0 is 0, must be in 1..2^63-1"},
    {"dimension_2_63", "tensor w: dimension 0 is 9223372036854775808, must be in 1..2^63-1"},
    {"dimensions_none", "tensor w: has 0 dimensions, must be in 1..4"},
    {"dimensions_5", "tensor w: has 5 dimensions, must be in 1..4"},
    {"dimensions_2_32", "tensor w: has 4294967295 dimensions, must be in 1..4"},
    {"name_empty", "tensor 0 has an empty name"},
    {"name_length_2_63", "name of tensor 0 is 9223372036854775808 bytes long, more than the limit"},
    {"name_with_escape", "tensor \\x1b[2Jw: dimension 0 is 0"},
    {"name_twice", "tensor w occurs twice"},
    {"type_999", "tensor w: has type number 999, which is not known"},
    {"type_removed", "tensor w: has type number 4, which is not known"},
    {"row_not_blocks", "tensor w: has rows of 100 values, must be a multiple of 256 for type Q4_K"},
    {"offset_2_64", "tensor w: 32 bytes at offset 18446744073709551584 of the data section"},
    {"offset_over_file", "tensor w: 32 bytes at offset 32 of the data section, which has 32 bytes"},
    {"offset_unaligned", "tensor w: offset 4 is not a multiple of the alignment 32"},
    {"tensors_overlap", "tensors a and b overlap"},
    {"padding_missing", "the file ends within the padding before the tensors, at byte 63"},
};

const Expectations kSafetensors = {
    {"valid", ""},
    {"valid_empty", ""},
    {"valid_padded", ""},
    {"empty_file", "the file has 0 bytes, too few for the length of its header"},
    {"length_cut", "the file has 3 bytes, too few for the length of its header"},
    {"header_length_2_63", "the header is 9223372036854775808 bytes long, more than the limit of"},
    {"header_length_200_mb", "is 200000000 bytes long, more than the limit of 100000000"},
    {"header_length_over_file", "the header is 1000 bytes long, but only 2 bytes follow"},
    {"header_length_0", "header: invalid JSON"},
    {"header_not_json", "header: invalid JSON at byte 0"},
    {"header_array", "the header must be a JSON object"},
    {"header_deep", "nested deeper than 4 levels"},
    {"header_deep_objects", "nested deeper than 4 levels"},
    {"header_with_rest", "header: invalid JSON at byte 2"},
    {"name_twice", "duplicate key \"w\""},
    {"name_not_utf8", "header: invalid JSON at byte 2"},
    {"entry_not_object", "tensor w: must be an object"},
    {"dtype_missing", "tensor w: dtype must be a string"},
    {"dtype_unknown", "tensor w: has type Q9_Z, which is not supported"},
    {"dtype_number", "tensor w: dtype must be a string"},
    {"shape_missing", "tensor w: shape must be an array"},
    {"shape_negative", "tensor w: shape must hold integers in 0..2^63-1"},
    {"shape_float", "tensor w: shape must hold integers in 0..2^63-1"},
    {"shape_2_64", "tensor w: shape must hold integers in 0..2^63-1"},
    {"shape_text", "tensor w: shape must hold integers in 0..2^63-1"},
    {"shape_wraps", "tensor w: [8589934592, 8589934592] of type F32 takes over 2^63-1 bytes"},
    {"shape_wraps_behind_zero", "tensor w: [0, 4611686018427387904, 4611686018427387904] of type"},
    {"shape_17_dimensions", "tensor w: has 17 dimensions, more than the limit of 16"},
    {"size_of_1_gib", "tensor w: data_offsets are [0, 1073741824], must be in order and within"},
    {"size_not_of_shape", "[16384, 16384] of type F32 takes 1073741824 bytes, but data_offsets"},
    {"offsets_missing", "tensor w: data_offsets must be two integers in 0..2^63-1"},
    {"offsets_three", "tensor w: data_offsets must be two integers in 0..2^63-1"},
    {"offsets_reversed", "tensor w: data_offsets are [1, 0], must be in order and within the 1 b"},
    {"offsets_negative", "tensor w: data_offsets must be two integers in 0..2^63-1"},
    {"offsets_2_63", "tensor w: data_offsets must be two integers in 0..2^63-1"},
    {"tensors_overlap", "tensor b begins at byte 2 of the buffer, must be 4 (no overlaps)"},
    {"buffer_hole", "tensor b begins at byte 2 of the buffer, must be 1 (no holes)"},
    {"buffer_rest", "the tensors end at byte 1 of the buffer, which has 3 bytes"},
    {"metadata_not_object", "__metadata__ must be an object"},
    {"metadata_not_text", "__metadata__: \"a\" must be a string"},
};

fs::path corpus(const std::string& format) {
  return tutti::testing::goldens_dir().parent_path() / "fuzz" / "corpus" / format;
}

std::string seed(const std::string& format, const std::string& name) {
  auto text = read_file(corpus(format) / name, 1 << 20);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.ok() ? std::move(*text) : std::string();
}

template <typename File>
void expect_errors(const std::string& format, const Expectations& expectations) {
  for (const auto& [name, message] : expectations) {
    SCOPED_TRACE(name);
    const fs::path path = corpus(format) / (name + "." + format);
    const auto file = File::open(path);
    EXPECT_EQ(file.ok(), message.empty()) << file.status().message();
    if (file.ok()) continue;
    EXPECT_THAT(file.status().message(), HasSubstr(message));
    EXPECT_THAT(file.status().message(), HasSubstr(path.string()));
  }
}

// Parses copies of exactly their own size, so that AddressSanitizer sees a read past the end.
template <typename File>
bool opens(std::string_view bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  const auto file = File::parse(std::as_bytes(std::span(copy)), "f");
  if (file.ok()) {
    for (const TensorView& tensor : file->tensors()) EXPECT_LE(tensor.bytes.size(), copy.size());
  } else {
    EXPECT_FALSE(file.status().message().empty());
  }
  return file.ok();
}

template <typename File>
void expect_no_prefix_opens(const std::string& valid) {
  ASSERT_TRUE(opens<File>(valid));
  for (std::size_t length = 0; length < valid.size(); ++length) {
    EXPECT_FALSE(opens<File>(std::string_view(valid).substr(0, length))) << length << " bytes";
  }
}

template <typename File>
void flip_every_bit(const std::string& valid) {
  int num_refused = 0;
  for (std::size_t bit = 0; bit < valid.size() * 8; ++bit) {
    std::string changed = valid;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    num_refused += opens<File>(changed) ? 0 : 1;
  }
  EXPECT_GT(num_refused, 0);
}

TEST(HostileGguf, EachFileGivesItsError) { expect_errors<GgufFile>("gguf", kGguf); }
TEST(HostileSafetensors, EachFileGivesItsError) {
  expect_errors<SafetensorsFile>("safetensors", kSafetensors);
}

TEST(HostileGguf, NoPrefixOpens) {
  expect_no_prefix_opens<GgufFile>(seed("gguf", "valid_v3.gguf"));
}
TEST(HostileSafetensors, NoPrefixOpens) {
  expect_no_prefix_opens<SafetensorsFile>(seed("safetensors", "valid.safetensors"));
}

TEST(HostileGguf, FlippedBitsNeverCrash) {
  flip_every_bit<GgufFile>(seed("gguf", "valid_v3.gguf"));
}
TEST(HostileSafetensors, FlippedBitsNeverCrash) {
  flip_every_bit<SafetensorsFile>(seed("safetensors", "valid.safetensors"));
}

TEST(HostileGguf, ValuesOfTheWrongTypeNameTheirKey) {
  const auto file = GgufFile::open(corpus("gguf") / "valid_tokens_of_wrong_type.gguf");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(
      file->get_strings("tokenizer.ggml.tokens").status().message(),
      HasSubstr("key \"tokenizer.ggml.tokens\" is an array of u32, must be an array of strings"));
  EXPECT_THAT(
      file->get_floats("tokenizer.ggml.scores").status().message(),
      HasSubstr("key \"tokenizer.ggml.scores\" is an array of u8, must be an array of floats"));
}

TEST(HostileGguf, NumbersThatAreNotNumbersNameTheirKey) {
  const auto file = GgufFile::open(corpus("gguf") / "valid_odd_numbers.gguf");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(file->get_float("llama.rope.freq_base").status().message(),
              HasSubstr("key \"llama.rope.freq_base\" is nan, must be finite"));
  EXPECT_THAT(file->get_float("inf").status().message(), HasSubstr("is inf, must be finite"));
  EXPECT_THAT(file->get_floats("nans").status().message(),
              HasSubstr("key \"nans\": element 1 is not a number"));
}

}  // namespace
}  // namespace tutti::formats
