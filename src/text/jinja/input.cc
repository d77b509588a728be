#include "text/jinja/input.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

namespace tutti::text::jinja {
namespace {

// Templates build special tokens from these ("<|" + message.role + "|>"); any other role is a
// user's word.
constexpr std::array<std::string_view, 14> kRoles = {
    "system",  "user",        "assistant",     "tool",  "developer", "function", "model",
    "ipython", "observation", "tool_response", "human", "gpt",       "bot",      "tool_call"};

bool is_known_role(std::string_view role) {
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end();
}

// Letters, digits, '_', '-' and '.': no special token is spelled with these alone.
bool is_plain_word(std::string_view text) {
  return text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

Value object_of(Heap& heap, const boost::json::object& source, int depth) {
  Dict* dict = heap.dict();
  for (const auto& [key, value] : source) {
    const bool is_role = key == "role" && value.is_string() && is_known_role(value.get_string());
    Value converted =
        is_role ? heap.string(value.get_string(), false) : value_of(heap, value, depth + 1);
    heap.put(*dict, heap.string(key, true), std::move(converted));
  }
  return Value::object(dict);
}

}  // namespace

Value value_of(Heap& heap, const boost::json::value& source, int depth) {
  if (depth > kMaxValueDepth) fail_limit("the variables are nested too deep");
  switch (source.kind()) {
    case boost::json::kind::null:
      return Value();
    case boost::json::kind::bool_:
      return Value::boolean(source.get_bool());
    case boost::json::kind::int64:
      return Value::integer(source.get_int64());
    case boost::json::kind::uint64:
      return Value::integer(static_cast<Integer>(source.get_uint64()));
    case boost::json::kind::double_:
      return Value::real(source.get_double());
    case boost::json::kind::string:
      return heap.string(source.get_string(), true);
    case boost::json::kind::array: {
      std::vector<Value> items;
      for (const auto& item : source.get_array()) items.push_back(value_of(heap, item, depth + 1));
      return heap.list(std::move(items));
    }
    case boost::json::kind::object:
      return object_of(heap, source.get_object(), depth);
  }
  return Value();
}

void set_variables(Machine& machine, const boost::json::object& variables,
                   const std::vector<std::string>& trusted) {
  const auto& names = machine.names();
  for (std::size_t symbol = 0; symbol < names.size(); ++symbol) {
    const auto* value = variables.if_contains(names[symbol]);
    if (value == nullptr) continue;
    const bool is_trusted = value->is_string() && (is_plain_word(value->get_string()) ||
                                                   std::find(trusted.begin(), trusted.end(),
                                                             names[symbol]) != trusted.end());
    machine.scope()->set(static_cast<Symbol>(symbol),
                         is_trusted ? machine.heap().string(value->get_string(), false)
                                    : value_of(machine.heap(), *value));
  }
}

}  // namespace tutti::text::jinja
