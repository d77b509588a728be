// The template of jinja/arguments.h.
#pragma once

#include <string>

#include "text/jinja/text.h"
#include "text/jinja/unicode.h"

namespace tutti::text::jinja {

template <typename Map>
Text map_text(Budget& budget, const Text& text, Map append_mapped) {
  // Each code point is taken apart and put together again.
  budget.spend(static_cast<std::int64_t>(text.size() / 8));
  TextBuilder out(budget);
  ContentCursor cursor(text);
  std::string run;
  bool run_is_content = false;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text.view(), i);
    const bool is_content = cursor.is_content(i);
    if (is_content != run_is_content) {
      out.append_bytes(run, run_is_content);
      run.clear();
      run_is_content = is_content;
    }
    append_mapped(run, point.value);
    i += point.length;
  }
  out.append_bytes(run, run_is_content);
  return out.finish().with_markup(text.is_markup());
}

}  // namespace tutti::text::jinja
