// Numbers, strings and lists as bytes: little-endian, fixed widths, counts before lists. The reader
// never reads past its bytes and never takes more memory than they justify.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tutti::engine {

static_assert(std::endian::native == std::endian::little);

template <typename T>
concept WireNumber = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class WireWriter {
 public:
  // Appends to `out`, which must outlive it.
  explicit WireWriter(std::string& out) : out_(out) {}

  template <WireNumber T>
  void operator()(T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
  }
  void operator()(std::string_view text) {
    (*this)(static_cast<std::uint32_t>(text.size()));
    out_.append(text);
  }
  template <WireNumber T>
  void operator()(const std::vector<T>& list) {
    (*this)(static_cast<std::uint32_t>(list.size()));
    out_.append(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T));
  }

 private:
  std::string& out_;
};

// After the first read that fails, every value is zero or empty and ok() is false.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  // All reads succeeded so far.
  bool ok() const { return ok_; }
  // All reads succeeded and nothing is left.
  bool is_complete() const { return ok_ && bytes_.empty(); }

  template <WireNumber T>
  void operator()(T& value) {
    static_assert(!std::is_same_v<T, bool>, "a byte that is neither 0 nor 1 is no bool");
    value = T{};
    const std::string_view bytes = take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
  }
  void operator()(bool& value) {
    std::uint8_t byte = 0;
    (*this)(byte);
    if (byte > 1) fail();
    value = byte == 1;
  }
  void operator()(std::string& text) { text = take(count(1)); }
  template <WireNumber T>
  void operator()(std::vector<T>& list) {
    const std::size_t size = count(sizeof(T));
    list.resize(size);
    if (size > 0) std::memcpy(list.data(), take(size * sizeof(T)).data(), size * sizeof(T));
  }

  // The length of a list whose elements take at least `element_bytes` each.
  std::size_t count(std::size_t element_bytes) {
    std::uint32_t size = 0;
    (*this)(size);
    if (size > bytes_.size() / element_bytes) fail();
    return ok_ ? size : 0;
  }

  // What was read is out of its range.
  void fail() {
    ok_ = false;
    bytes_ = {};
  }

 private:
  std::string_view take(std::size_t size) {
    if (size > bytes_.size()) fail();
    if (!ok_) return {};
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace tutti::engine
