// Strings that know which of their bytes are content: what came from a variable's strings and not
// from the template. Provenance survives concatenation, slices and mappings, so that the prompt in
// the end says which bytes a user typed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/text_span.h"

namespace tutti::text::jinja {

// What one render may still use. Thread safety: owned by one render.
class Budget {
 public:
  Budget(std::int64_t fuel, std::size_t max_memory_bytes)
      : fuel_(fuel), memory_left_(max_memory_bytes) {}

  // Throws Failure{kLimit} when the fuel does not suffice.
  void spend(std::int64_t steps) {
    fuel_ -= steps;
    if (fuel_ < 0) out_of_fuel();
  }
  void spend_for_bytes(std::size_t bytes) { spend(static_cast<std::int64_t>(bytes / 64)); }
  // Throws Failure{kLimit} when the memory does not suffice; then nothing was taken.
  void take(std::size_t bytes) {
    if (bytes > memory_left_) out_of_memory();
    memory_left_ -= bytes;
  }
  void release(std::size_t bytes) noexcept { memory_left_ += bytes; }

 private:
  [[noreturn]] void out_of_fuel();
  [[noreturn]] void out_of_memory();

  std::int64_t fuel_;
  std::size_t memory_left_;
};

// An immutable string with provenance, cheap to copy.
class Text {
 public:
  Text() = default;
  // A string of the template's source: counted against no budget, so that programs can share it.
  static Text literal(std::string bytes);
  static Text make(Budget& budget, std::string_view bytes, bool is_content);

  std::string_view view() const { return data_ ? std::string_view(data_->bytes) : ""; }
  std::size_t size() const { return data_ ? data_->bytes.size() : 0; }
  bool empty() const { return size() == 0; }
  // Sorted, disjoint, not adjacent, none empty.
  std::span<const TextSpan> content() const {
    return data_ ? std::span<const TextSpan>(data_->content) : std::span<const TextSpan>();
  }
  bool has_content() const { return data_ && !data_->content.empty(); }
  // HTML that is not to be escaped again: what `safe` and `escape` give. As in Jinja it changes
  // what
  // `+` and `%` do, and nothing else of a chat template.
  bool is_markup() const { return is_markup_; }
  Text with_markup(bool is_markup) const {
    Text copy = *this;
    copy.is_markup_ = is_markup;
    return copy;
  }

 private:
  friend class TextBuilder;
  struct Data {
    std::string bytes;
    std::vector<TextSpan> content;
    Budget* budget = nullptr;
    std::size_t charged = 0;

    Data() = default;
    Data(const Data&) = delete;
    Data& operator=(const Data&) = delete;
    ~Data() {
      if (budget != nullptr) budget->release(charged);
    }
  };
  std::shared_ptr<const Data> data_;
  bool is_markup_ = false;
};

// Builds a Text piece by piece, paying for each.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget, std::size_t max_bytes = SIZE_MAX)
      : budget_(budget), max_bytes_(max_bytes) {}
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;
  ~TextBuilder() { budget_.release(charged_); }

  void append(const Text& text) { append_range(text, 0, text.size()); }
  // Bytes [begin, end) of `text`.
  void append_range(const Text& text, std::size_t begin, std::size_t end);
  void append_bytes(std::string_view bytes, bool is_content);
  void append_template(std::string_view bytes) { append_bytes(bytes, false); }

  std::size_t size() const { return bytes_.size(); }
  // Leaves the builder empty.
  Text finish();
  Budget& budget() { return budget_; }

 private:
  void pay(std::size_t bytes);
  void mark(std::size_t begin, std::size_t end);

  Budget& budget_;
  std::size_t max_bytes_;
  std::size_t charged_ = 0;
  std::string bytes_;
  std::vector<TextSpan> content_;
};

// Tells for ascending positions of a text whether a byte is content, in constant time each.
class ContentCursor {
 public:
  explicit ContentCursor(const Text& text) : content_(text.content()) {}
  bool is_content(std::size_t position) {
    while (next_ < content_.size() && content_[next_].end <= position) ++next_;
    return next_ < content_.size() && content_[next_].begin <= position;
  }

 private:
  std::span<const TextSpan> content_;
  std::size_t next_ = 0;
};

// Bytes [begin, end). Slices of markup are markup.
Text slice_text(Budget& budget, const Text& text, std::size_t begin, std::size_t end);
Text concatenate(Budget& budget, const Text& left, const Text& right);

}  // namespace tutti::text::jinja
