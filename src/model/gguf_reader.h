// Typed, bounded reading of "<architecture>.<key>" in a GGUF.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/gguf.h"
#include "model/config_reader.h"

namespace tutti::model {

// Errors: kCorrupt naming file and key for a missing value, a wrong type or a value out of range.
class GgufReader {
 public:
  // `file` must outlive the reader.
  GgufReader(const formats::GgufFile& file, std::string_view architecture)
      : file_(&file), prefix_(std::string(architecture) + ".") {}

  std::string key_of(std::string_view key) const { return prefix_ + std::string(key); }
  std::string where(std::string_view key) const { return file_->name() + ": " + key_of(key); }
  bool has(std::string_view key) const { return file_->has(key_of(key)); }

  // A number, or a list of equal numbers with an element for each layer.
  Result<int> integer(std::string_view key, IntegerRange range) const;
  Result<int> integer_or(std::string_view key, int otherwise, IntegerRange range) const;
  Result<double> number(std::string_view key, NumberRange range) const;
  Result<double> number_or(std::string_view key, double otherwise, NumberRange range) const;
  Result<std::string> text_or(std::string_view key, std::string_view otherwise) const;

  const formats::GgufFile& file() const { return *file_; }

 private:
  const formats::GgufFile* file_;
  std::string prefix_;
};

}  // namespace tutti::model
