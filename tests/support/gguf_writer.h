// Writes small GGUF files, for the tests. Layout: formats/gguf.h.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::testing {

class GgufWriter {
 public:
  void add(std::string_view key, std::uint32_t value) {
    add_key(key, 4);
    append(pairs_, value);
  }
  void add(std::string_view key, float value) {
    add_key(key, 6);
    append(pairs_, value);
  }
  void add(std::string_view key, std::string_view value) {
    add_key(key, 8);
    append_string(pairs_, value);
  }
  void add(std::string_view key, const std::vector<bool>& values) {
    add_array_key(key, 7, values.size());
    for (const bool value : values) append(pairs_, static_cast<std::uint8_t>(value));
  }
  void add(std::string_view key, const std::vector<std::uint8_t>& values) {
    add_numbers(key, 0, values);
  }
  void add(std::string_view key, const std::vector<std::int32_t>& values) {
    add_numbers(key, 5, values);
  }
  void add(std::string_view key, const std::vector<float>& values) { add_numbers(key, 6, values); }
  void add(std::string_view key, const std::vector<std::string>& values) {
    add_array_key(key, 8, values.size());
    for (const std::string& value : values) append_string(pairs_, value);
  }

  // `shape` is outermost first, as TensorView has it. F32.
  void add_tensor(std::string_view name, std::span<const std::int64_t> shape,
                  std::span<const float> values) {
    add_tensor(name, shape, 0, std::as_bytes(values));
  }
  void add_bf16_tensor(std::string_view name, std::span<const std::int64_t> shape,
                       std::span<const std::byte> bytes) {
    add_tensor(name, shape, 30, bytes);
  }

  void write(const std::filesystem::path& path) const {
    std::string file = "GGUF";
    append(file, std::uint32_t{3});
    append(file, std::uint64_t{num_tensors_});
    append(file, std::uint64_t{num_pairs_});
    file += pairs_ + tensors_;
    file.resize((file.size() + kAlignment - 1) / kAlignment * kAlignment);
    std::ofstream(path, std::ios::binary) << file + data_;
  }

 private:
  static constexpr std::size_t kAlignment = 32;

  template <typename T>
  static void append(std::string& bytes, T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes.append(raw, sizeof(T));
  }
  static void append_string(std::string& bytes, std::string_view text) {
    append(bytes, std::uint64_t{text.size()});
    bytes.append(text);
  }
  void add_key(std::string_view key, std::uint32_t type) {
    append_string(pairs_, key);
    append(pairs_, type);
    ++num_pairs_;
  }
  void add_array_key(std::string_view key, std::uint32_t element_type, std::uint64_t count) {
    add_key(key, 9);
    append(pairs_, element_type);
    append(pairs_, count);
  }
  template <typename T>
  void add_numbers(std::string_view key, std::uint32_t type, const std::vector<T>& values) {
    add_array_key(key, type, values.size());
    for (const T value : values) append(pairs_, value);
  }
  void add_tensor(std::string_view name, std::span<const std::int64_t> shape, std::uint32_t type,
                  std::span<const std::byte> bytes) {
    append_string(tensors_, name);
    append(tensors_, static_cast<std::uint32_t>(shape.size()));
    for (std::size_t i = shape.size(); i > 0; --i) {
      append(tensors_, static_cast<std::uint64_t>(shape[i - 1]));
    }
    append(tensors_, type);
    append(tensors_, std::uint64_t{data_.size()});
    data_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    data_.resize((data_.size() + kAlignment - 1) / kAlignment * kAlignment);
    ++num_tensors_;
  }

  std::string pairs_, tensors_, data_;
  std::uint64_t num_pairs_ = 0;
  std::uint64_t num_tensors_ = 0;
};

}  // namespace tutti::testing
