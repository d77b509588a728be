// Filters whose subject is a string.
#include <algorithm>
#include <array>
#include <climits>
#include <utility>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"

namespace tutti::text::jinja {
namespace {

constexpr int kMaxPadding = 1 << 20;

Value capitalize(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "capitalize", arguments, {});
  return Value::string(capitalise_text(machine.budget(), machine.to_text(input)));
}

Value lower(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "lower", arguments, {});
  return Value::string(lower_text(machine.budget(), machine.to_text(input)));
}

Value upper(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "upper", arguments, {});
  return Value::string(upper_text(machine.budget(), machine.to_text(input)));
}

Value title(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "title", arguments, {});
  bool at_word_start = true;
  return Value::string(
      map_text(machine.budget(), machine.to_text(input), [&](std::string& out, char32_t value) {
        const bool separates =
            is_space(value) ||
            (value < 0x80 &&
             std::string_view("-({[<").find(static_cast<char>(value)) != std::string_view::npos);
        at_word_start ? append_upper(out, value) : append_lower(out, value);
        at_word_start = separates;
      }));
}

Value center(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "center", arguments, {"width"});
  Arguments forwarded;
  forwarded.positional.push_back(
      Value::integer(std::min(parameters.small_integer(0, 80), kMaxPadding)));
  const Value text = Value::string(machine.to_text(input));
  return find_method(text, "center")(machine, text, forwarded);
}

Value trim(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "trim", arguments, {"chars"});
  const Text text = machine.to_text(input);
  machine.budget().spend_for_bytes(text.size());
  const StripRange range =
      parameters.has_value(0)
          ? strip_range(text.view(), parameters.string(0).view(), StripSide::kBoth)
          : strip_range(text.view(), StripSide::kBoth);
  return Value::string(slice_text(machine.budget(), text, range.begin, range.end));
}

Value replace(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "replace", arguments, {"old", "new", "count"});
  const Integer count = parameters.has_value(2) ? parameters.integer(2, -1) : -1;
  parameters.require(0);
  parameters.require(1);
  return Value::string(replace_text(machine.budget(), machine.to_text(input).with_markup(false),
                                    parameters.text(0, ""), parameters.text(1, ""), count));
}

Value indent(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "indent", arguments, {"width", "first", "blank"});
  require_defined(input);
  if (!input.is_string()) {
    fail("unsupported operand type(s) for +=: '{}' and 'str'", type_name(input));
  }
  Text indention;
  if (parameters.has(0) && parameters.value(0).is_string()) {
    indention = parameters.string(0);
  } else {
    const int width = std::clamp(parameters.small_integer(0, 4), 0, kMaxPadding);
    indention =
        Text::make(machine.budget(), std::string(static_cast<std::size_t>(width), ' '), false);
  }
  const bool indents_blank = parameters.boolean(2, false);
  Budget& budget = machine.budget();
  const Text newline = Text::literal("\n");
  const auto lines = split_lines(budget, concatenate(budget, input.as_text(), newline), false);
  TextBuilder out(budget);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append(newline);
    const bool indents = i == 0 ? parameters.boolean(1, false) : indents_blank || !lines[i].empty();
    if (indents) out.append(indention);
    out.append(lines[i]);
  }
  return Value::string(out.finish());
}

Value escape(Machine& machine, const Value& input, const Arguments&) {
  return Value::string(escape_text(machine.budget(), machine.to_text(input)));
}

Value force_escape(Machine& machine, const Value& input, const Arguments&) {
  return Value::string(escape_text(machine.budget(), machine.to_text(input).with_markup(false)));
}

Value safe(Machine& machine, const Value& input, const Arguments&) {
  return Value::string(machine.to_text(input).with_markup(true));
}

Value string(Machine& machine, const Value& input, const Arguments&) {
  return Value::string(machine.to_text(input));
}

Value pretty_print(Machine& machine, const Value& input, const Arguments&) {
  TextBuilder out(machine.budget());
  append_repr(machine, out, input);
  return Value::string(out.finish());
}

Value format(Machine& machine, const Value& input, const Arguments& arguments) {
  const Text pattern = machine.to_text(input);
  if (arguments.keyword.empty()) {
    return Value::string(
        format_percent(machine, pattern, machine.heap().tuple(arguments.positional)));
  }
  if (!arguments.positional.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  Dict* names = machine.heap().dict();
  for (const auto& [name, value] : arguments.keyword) {
    machine.heap().put(*names, machine.heap().string(name), value);
  }
  return Value::string(format_percent(machine, pattern, Value::object(names)));
}

// Words of str.split().
std::vector<TextSpan> words_of(std::string_view text) {
  std::vector<TextSpan> words;
  bool in_word = false;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    const bool space = is_space(point.value);
    if (!space && !in_word) words.push_back({i, i});
    if (!space) words.back().end = i + point.length;
    in_word = !space;
    i += point.length;
  }
  return words;
}

Value wordcount(Machine& machine, const Value& input, const Arguments&) {
  const Text text = machine.to_text(input);
  Integer count = 0;
  bool in_word = false;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text.view(), i);
    const bool is_word = is_alpha(point.value) || is_numeric(point.value) || point.value == '_';
    if (is_word && !in_word) ++count;
    in_word = is_word;
    i += point.length;
  }
  machine.budget().spend_for_bytes(text.size());
  return Value::integer(count);
}

Value truncate(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "truncate", arguments,
                              {"length", "killwords", "end", "leeway"});
  const Text text = machine.to_text(input);
  const Text end = parameters.text(2, "...");
  const int length = parameters.small_integer(0, 255);
  const int leeway = parameters.has_value(3) ? parameters.small_integer(3, 5) : 5;
  const auto end_length = static_cast<int>(count_code_points(end.view()));
  if (length < end_length) {
    fail("expected length >= {}, got {}", end_length, length);
  }
  if (leeway < 0) fail("expected leeway >= 0, got {}", leeway);
  machine.budget().spend_for_bytes(text.size());
  const auto size = static_cast<Integer>(count_code_points(text.view()));
  if (size <= Integer{length} + leeway) return Value::string(text);
  std::size_t cut = byte_of_code_point(text.view(), static_cast<std::size_t>(length - end_length));
  if (!parameters.boolean(1, false)) {
    const std::size_t space = text.view().substr(0, cut).rfind(' ');
    if (space != std::string_view::npos) cut = space;
  }
  TextBuilder out(machine.budget());
  out.append_range(text, 0, cut);
  out.append(end);
  return Value::string(out.finish());
}

// Breaks one line into lines of at most `width` code points, at white space, and within a word
// that is longer.
void wrap_line(Machine& machine, const Text& line, std::size_t width, bool breaks_long_words,
               std::vector<Text>& out) {
  machine.budget().spend_for_bytes(2 * line.size());
  std::size_t begin = 0, end = 0, used = 0;
  const auto flush = [&] {
    if (end > begin) out.push_back(slice_text(machine.budget(), line, begin, end));
    used = 0;
  };
  for (TextSpan word : words_of(line.view())) {
    machine.budget().spend(1);
    const std::size_t gap =
        used == 0 ? 0 : count_code_points(line.view().substr(end, word.begin - end));
    std::size_t size = count_code_points(line.view().substr(word.begin, word.end - word.begin));
    if (used > 0 && used + gap + size > width) flush();
    if (used == 0) begin = word.begin;
    while (used == 0 && size > width && breaks_long_words) {
      end = begin + byte_of_code_point(line.view().substr(begin), width);
      out.push_back(slice_text(machine.budget(), line, begin, end));
      begin = word.begin = end;
      size -= width;
    }
    used = used == 0 ? size : used + gap + size;
    end = word.end;
  }
  flush();
}

Value wordwrap(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "wordwrap", arguments,
                              {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const int width = parameters.small_integer(0, 79);
  if (width <= 0) fail("invalid width {} (must be > 0)", width);
  const Text separator = parameters.has_value(2) ? parameters.text(2, "") : Text::literal("\n");
  TextBuilder out(machine.budget());
  bool is_first = true;
  for (const Text& line : split_lines(machine.budget(), machine.to_text(input), false)) {
    std::vector<Text> wrapped;
    wrap_line(machine, line, static_cast<std::size_t>(width), parameters.boolean(1, true), wrapped);
    if (wrapped.empty()) wrapped.emplace_back();
    for (const Text& piece : wrapped) {
      if (!std::exchange(is_first, false)) out.append(separator);
      out.append(piece);
    }
  }
  return Value::string(out.finish());
}

// Removes <!-- comments --> and <tags>, and joins the words with single spaces.
Value striptags(Machine& machine, const Value& input, const Arguments&) {
  const Text text = machine.to_text(input);
  const std::string_view view = text.view();
  machine.budget().spend_for_bytes(8 * text.size());
  TextBuilder kept(machine.budget());
  std::size_t copied = 0;
  while (true) {
    const std::size_t open = view.find('<', copied);
    if (open == std::string_view::npos) break;
    const bool is_comment = view.substr(open, 4) == "<!--";
    const std::size_t close = view.find(is_comment ? "-->" : ">", open);
    if (close == std::string_view::npos) break;
    kept.append_range(text, copied, open);
    copied = close + (is_comment ? 3 : 1);
  }
  kept.append_range(text, copied, view.size());
  const Text plain = kept.finish();
  TextBuilder out(machine.budget());
  for (const TextSpan& word : words_of(plain.view())) {
    if (out.size() > 0) out.append_template(" ");
    out.append_range(plain, word.begin, word.end);
  }
  return Value::string(out.finish());
}

Text url_quote(Machine& machine, const Text& text, std::string_view safe) {
  return map_text(machine.budget(), text, [&](std::string& out, char32_t value) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    const bool is_plain =
        value < 0x80 &&
        (is_alpha(value) || is_decimal(value) ||
         std::string_view("_.-~").find(static_cast<char>(value)) != std::string_view::npos ||
         safe.find(static_cast<char>(value)) != std::string_view::npos);
    std::string bytes;
    append_utf8(bytes, value);
    if (is_plain) {
      out += bytes;
      return;
    }
    for (const char byte : bytes) {
      out.push_back('%');
      out.push_back(kDigits[(byte >> 4) & 15]);
      out.push_back(kDigits[byte & 15]);
    }
  });
}

// A part of a query: spaces are plus signs.
Text query_quote(Machine& machine, const Value& value) {
  return replace_text(machine.budget(), url_quote(machine, machine.to_text(value), ""),
                      Text::literal("%20"), Text::literal("+"), -1);
}

Value urlencode(Machine& machine, const Value& input, const Arguments&) {
  if (!input.is(Kind::kDict)) {
    return Value::string(url_quote(machine, machine.to_text(input), "/"));
  }
  TextBuilder out(machine.budget());
  for (const auto& entry : input.as_dict().entries()) {
    if (out.size() > 0) out.append_template("&");
    out.append(query_quote(machine, entry.key));
    out.append_template("=");
    out.append(query_quote(machine, entry.value));
  }
  return Value::string(out.finish());
}

Value xmlattr(Machine& machine, const Value& input, const Arguments& arguments) {
  const Parameters parameters(machine, "xmlattr", arguments, {"autospace"});
  if (!input.is(Kind::kDict)) fail("'{}' object has no attribute 'items'", type_name(input));
  TextBuilder out(machine.budget());
  const bool autospace = parameters.boolean(0, true);
  bool is_first = true;
  for (const auto& entry : input.as_dict().entries()) {
    if (entry.value.is_none() || entry.value.is_undefined()) continue;
    if (!std::exchange(is_first, false) || autospace) out.append_template(" ");
    out.append(escape(machine, entry.key, {}).as_text());
    out.append_template("=\"");
    out.append(escape(machine, entry.value, {}).as_text());
    out.append_template("\"");
  }
  return Value::string(out.finish());
}

constexpr std::array kTextFilters = {
    NamedFilter{"capitalize", capitalize},
    NamedFilter{"center", center},
    NamedFilter{"e", escape},
    NamedFilter{"escape", escape},
    NamedFilter{"forceescape", force_escape},
    NamedFilter{"format", format},
    NamedFilter{"indent", indent},
    NamedFilter{"lower", lower},
    NamedFilter{"pprint", pretty_print},
    NamedFilter{"replace", replace},
    NamedFilter{"safe", safe},
    NamedFilter{"string", string},
    NamedFilter{"striptags", striptags},
    NamedFilter{"title", title},
    NamedFilter{"trim", trim},
    NamedFilter{"truncate", truncate},
    NamedFilter{"upper", upper},
    NamedFilter{"urlencode", urlencode},
    NamedFilter{"wordcount", wordcount},
    NamedFilter{"wordwrap", wordwrap},
    NamedFilter{"xmlattr", xmlattr},
};

}  // namespace

std::span<const NamedFilter> text_filters() { return kTextFilters; }

FilterFunction find_filter(std::string_view name) {
  for (const auto& part : {text_filters(), sequence_filters(), value_filters()}) {
    for (const auto& filter : part) {
      if (filter.name == name) return filter.function;
    }
  }
  return nullptr;
}

}  // namespace tutti::text::jinja
