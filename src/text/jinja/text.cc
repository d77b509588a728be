#include "text/jinja/text.h"

#include <algorithm>
#include <utility>

#include "text/jinja/failure.h"

namespace tutti::text::jinja {
namespace {

// What a string costs beside its bytes: the control block, the object, the allocator.
constexpr std::size_t kTextOverhead = 96;
// Copying is that much faster than looking at each character: templates that build the prompt in
// one variable copy all of it for every message.
constexpr std::size_t kCopiedBytesPerStep = 1024;

}  // namespace

void Budget::out_of_fuel() { fail_limit("the template runs for too long"); }
void Budget::out_of_memory() { fail_limit("the template needs too much memory"); }

Text Text::literal(std::string bytes) {
  auto data = std::make_shared<Data>();
  data->bytes = std::move(bytes);
  Text text;
  text.data_ = std::move(data);
  return text;
}

Text Text::make(Budget& budget, std::string_view bytes, bool is_content) {
  TextBuilder builder(budget);
  builder.append_bytes(bytes, is_content);
  return builder.finish();
}

void TextBuilder::pay(std::size_t bytes) {
  if (bytes > max_bytes_ - bytes_.size()) {
    fail_limit("the template's output is longer than {} bytes", max_bytes_);
  }
  budget_.spend(static_cast<std::int64_t>(bytes / kCopiedBytesPerStep));
  budget_.take(bytes);
  charged_ += bytes;
}

void TextBuilder::mark(std::size_t begin, std::size_t end) {
  if (begin == end) return;
  if (!content_.empty() && content_.back().end == begin) {
    content_.back().end = end;
    return;
  }
  budget_.take(sizeof(TextSpan));
  charged_ += sizeof(TextSpan);
  content_.push_back({begin, end});
}

void TextBuilder::append_range(const Text& text, std::size_t begin, std::size_t end) {
  if (begin >= end) return;
  pay(end - begin);
  const std::size_t offset = bytes_.size();
  bytes_.append(text.view().substr(begin, end - begin));
  const auto content = text.content();
  auto span = std::partition_point(content.begin(), content.end(),
                                   [&](const TextSpan& s) { return s.end <= begin; });
  for (; span != content.end() && span->begin < end; ++span) {
    mark(offset + std::max(span->begin, begin) - begin, offset + std::min(span->end, end) - begin);
  }
}

void TextBuilder::append_bytes(std::string_view bytes, bool is_content) {
  pay(bytes.size());
  const std::size_t offset = bytes_.size();
  bytes_.append(bytes);
  if (is_content) mark(offset, bytes_.size());
}

Text TextBuilder::finish() {
  Text text;
  if (bytes_.empty()) return text;
  budget_.take(kTextOverhead);
  charged_ += kTextOverhead;
  auto data = std::make_shared<Text::Data>();
  data->bytes = std::move(bytes_);
  data->content = std::move(content_);
  data->budget = &budget_;
  data->charged = std::exchange(charged_, 0);
  bytes_.clear();
  content_.clear();
  text.data_ = std::move(data);
  return text;
}

Text slice_text(Budget& budget, const Text& text, std::size_t begin, std::size_t end) {
  if (begin == 0 && end == text.size()) return text;
  TextBuilder builder(budget);
  builder.append_range(text, begin, end);
  return builder.finish().with_markup(text.is_markup());
}

Text concatenate(Budget& budget, const Text& left, const Text& right) {
  if (left.empty()) return right;
  if (right.empty()) return left;
  TextBuilder builder(budget);
  builder.append(left);
  builder.append(right);
  return builder.finish();
}

}  // namespace tutti::text::jinja
