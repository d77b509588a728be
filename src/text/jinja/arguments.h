// The arguments of a function by the names of its parameters.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/machine.h"

namespace tutti::text::jinja {

class Parameters {
 public:
  // Throws for too many arguments, an unknown keyword, a parameter given twice. `arguments` must
  // outlive this.
  Parameters(Machine& machine, std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  bool has(std::size_t i) const { return values_[i] != nullptr; }
  // Also false when none was given.
  bool has_value(std::size_t i) const { return has(i) && !values_[i]->is_none(); }
  // The i-th parameter. require throws when it is missing.
  const Value& require(std::size_t i) const;
  Value value(std::size_t i, const Value& otherwise = Value()) const;
  bool boolean(std::size_t i, bool otherwise) const;
  Integer integer(std::size_t i, Integer otherwise) const;
  // As integer, clamped to the range of int.
  int small_integer(std::size_t i, int otherwise) const;
  // str(parameter).
  Text text(std::size_t i, std::string_view otherwise) const;
  // A parameter that must be a string.
  Text string(std::size_t i) const;

 private:
  Machine& machine_;
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

// The value behind `attribute` of a filter such as map or sort: "a.b.0", an index, or (absent)
// the value itself. Strings are lowered when `ignore_case`.
class AttributeGetter {
 public:
  AttributeGetter(Machine& machine, const Value* attribute, bool ignore_case,
                  const Value* otherwise = nullptr);
  Value operator()(const Value& value) const;

 private:
  Machine& machine_;
  std::vector<Value> path_;
  bool ignore_case_;
  const Value* otherwise_;
};

// Text made of the code points of another, each with the provenance of the one it came from.
// `append_mapped(std::string& out, char32_t value)` is called in order.
template <typename Map>
Text map_text(Budget& budget, const Text& text, Map append_mapped);

// Markup of the text with & < > " ' escaped; markup stays as it is.
Text escape_text(Budget& budget, const Text& text);
Text lower_text(Budget& budget, const Text& text);
Text upper_text(Budget& budget, const Text& text);
Text capitalise_text(Budget& budget, const Text& text);
// Every occurrence of `old` (the first `count` when not negative) replaced.
Text replace_text(Budget& budget, const Text& text, const Text& old, const Text& replacement,
                  Integer count);
// Pieces of str.splitlines.
std::vector<Text> split_lines(Budget& budget, const Text& text, bool keep_ends);
Text pad_text(Budget& budget, const Text& text, std::size_t left, std::size_t right,
              const Text& fill);

}  // namespace tutti::text::jinja

#include "text/jinja/map_text.h"
