#include "text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace tutti::text::jinja {
namespace {

// A dict of up to this many entries is searched from end to end.
constexpr std::size_t kScannedEntries = 8;

void check_depth(int depth) {
  if (depth > kMaxValueDepth) fail_limit("values are nested too deep");
}

std::size_t combine(std::size_t seed, std::size_t hash) {
  return seed ^ (hash + 0x9E3779B97F4A7C15ULL + (seed << 6) + (seed >> 2));
}

// -1, 0, 1 for an int against a float, exactly.
int compare_numbers(const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) {
    const Integer a = left.as_integer();
    const Integer b = right.as_integer();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  const double a = left.as_real();
  const double b = right.as_real();
  if (std::isnan(a) || std::isnan(b)) return 2;
  return a < b ? -1 : a > b ? 1 : 0;
}

bool equal_dicts(Budget& budget, Dict& left, Dict& right, int depth) {
  if (left.entries().size() != right.entries().size()) return false;
  for (const auto& entry : left.entries()) {
    const Value* other = right.find(budget, entry.key);
    if (other == nullptr || !equal(budget, entry.value, *other, depth + 1)) return false;
  }
  return true;
}

}  // namespace

Value Value::undefined(std::string message) {
  return Value(Storage(Undefined{std::make_shared<const std::string>(std::move(message))}));
}

Kind Value::kind() const {
  switch (storage_.index()) {
    case 0:
      return Kind::kUndefined;
    case 1:
      return Kind::kNone;
    case 2:
      return Kind::kBoolean;
    case 3:
      return Kind::kInteger;
    case 4:
      return Kind::kReal;
    case 5:
      return Kind::kString;
    default:
      return std::get<Object*>(storage_)->kind;
  }
}

bool Value::is_integral() const {
  return std::holds_alternative<Integer>(storage_) || std::holds_alternative<bool>(storage_);
}

const std::string& Value::undefined_message() const {
  return *std::get<Undefined>(storage_).message;
}

Integer Value::as_integer() const {
  if (const bool* boolean = std::get_if<bool>(&storage_)) return *boolean ? 1 : 0;
  return std::get<Integer>(storage_);
}

double Value::as_real() const {
  if (const double* real = std::get_if<double>(&storage_)) return *real;
  return static_cast<double>(as_integer());
}

Sequence& Value::as_sequence() const { return static_cast<Sequence&>(*as_object()); }
Dict& Value::as_dict() const { return static_cast<Dict&>(*as_object()); }

void Object::append_repr(Machine&, TextBuilder& out, int) {
  out.append_template(fmt::format("<{} object>", type_name()));
}
Value Object::call(Machine&, const Arguments&) { fail("'{}' object is not callable", type_name()); }
std::optional<Value> Object::attribute(Machine&, std::string_view) { return std::nullopt; }
std::optional<Value> Object::item(Machine&, const Value&) { return std::nullopt; }
std::optional<std::vector<Value>> Object::iterate(Machine&) { return std::nullopt; }

std::optional<std::size_t> Dict::position(Budget& budget, std::size_t hash,
                                          const Value& key) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (hashes_[i] == hash && equal(budget, entries_[i].key, key)) return i;
    }
    return std::nullopt;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    if (equal(budget, entries_[found->second].key, key)) return found->second;
  }
  return std::nullopt;
}

Value* Dict::find(Budget& budget, const Value& key) {
  const auto found = position(budget, hash_of(budget, key), key);
  return found ? &entries_[*found].value : nullptr;
}

Value* Dict::find(std::string_view key) {
  const std::size_t hash = std::hash<std::string_view>()(key);
  const auto matches = [&](std::size_t i) {
    return hashes_[i] == hash && entries_[i].key.is_string() && entries_[i].key.view() == key;
  };
  if (index_.empty()) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (matches(i)) return &entries_[i].value;
    }
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    if (matches(found->second)) return &entries_[found->second].value;
  }
  return nullptr;
}

void Dict::insert(std::size_t hash, Value key, Value value) {
  entries_.push_back({std::move(key), std::move(value)});
  hashes_.push_back(hash);
  if (entries_.size() == kScannedEntries + 1) {
    rebuild_index();
  } else if (!index_.empty()) {
    index_.emplace(hash, entries_.size() - 1);
  }
}

bool Dict::erase(Budget& budget, const Value& key) {
  const auto found = position(budget, hash_of(budget, key), key);
  if (!found) return false;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(*found));
  hashes_.erase(hashes_.begin() + static_cast<std::ptrdiff_t>(*found));
  rebuild_index();
  return true;
}

void Dict::clear() {
  entries_.clear();
  hashes_.clear();
  index_.clear();
}

void Dict::rebuild_index() {
  index_.clear();
  if (entries_.size() <= kScannedEntries) return;
  for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(hashes_[i], i);
}

void Heap::pay(std::size_t bytes) {
  budget_.spend(1);
  budget_.take(bytes);
}

void Heap::pay_for_values(std::size_t count) {
  budget_.spend(static_cast<std::int64_t>(count / 4));
  if (count > SIZE_MAX / sizeof(Value)) fail_limit("the template needs too much memory");
  budget_.take(count * sizeof(Value));
}

Value Heap::sequence(Kind kind, std::vector<Value> items) {
  pay_for_values(items.size());
  auto* made = make<Sequence>(kind);
  made->items = std::move(items);
  return Value::object(made);
}

void Heap::append(Sequence& sequence, Value value) {
  pay(sizeof(Value));
  sequence.items.push_back(std::move(value));
}

void Heap::put(Dict& dict, Value key, Value value) {
  const std::size_t hash = hash_of(budget_, key);
  if (const auto found = dict.position(budget_, hash, key)) {
    dict.entries_[*found].value = std::move(value);
    return;
  }
  pay(2 * sizeof(Value) + 64);
  dict.insert(hash, std::move(key), std::move(value));
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBoolean:
      return value.as_boolean();
    case Kind::kInteger:
      return value.as_integer() != 0;
    case Kind::kReal:
      return value.as_real() != 0;
    case Kind::kString:
      return !value.as_text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.as_sequence().items.empty();
    case Kind::kDict:
      return !value.as_dict().entries().empty();
    case Kind::kOther:
      return value.as_object()->truthy();
  }
  return true;
}

bool equal(Budget& budget, const Value& left, const Value& right, int depth) {
  check_depth(depth);
  if (left.is_number() && right.is_number()) return compare_numbers(left, right) == 0;
  const Kind kind = left.kind();
  if (kind != right.kind()) return false;
  switch (kind) {
    case Kind::kString:
      if (left.view().size() != right.view().size()) return false;
      budget.spend_for_bytes(left.view().size());
      return left.view() == right.view();
    case Kind::kList:
    case Kind::kTuple: {
      const auto& a = left.as_sequence().items;
      const auto& b = right.as_sequence().items;
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [&](const Value& x, const Value& y) {
                          budget.spend(1);
                          return equal(budget, x, y, depth + 1);
                        });
    }
    case Kind::kDict:
      return &left.as_dict() == &right.as_dict() ||
             equal_dicts(budget, left.as_dict(), right.as_dict(), depth);
    case Kind::kOther:
      return left.as_object() == right.as_object();
    default:
      return true;  // none and none, undefined and undefined
  }
}

int compare(Budget& budget, const Value& left, const Value& right, const char* operation,
            int depth) {
  check_depth(depth);
  require_defined(left);
  require_defined(right);
  if (left.is_number() && right.is_number()) return compare_numbers(left, right);
  if (left.is_string() && right.is_string()) {
    budget.spend_for_bytes(std::min(left.view().size(), right.view().size()));
    const int order = left.view().compare(right.view());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (left.is_sequence() && left.kind() == right.kind()) {
    const auto& a = left.as_sequence().items;
    const auto& b = right.as_sequence().items;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      budget.spend(1);
      if (equal(budget, a[i], b[i], depth + 1)) continue;
      return compare(budget, a[i], b[i], operation, depth + 1);
    }
    return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
  }
  fail("'{}' not supported between instances of '{}' and '{}'", operation, type_name(left),
       type_name(right));
}

std::size_t hash_of(Budget& budget, const Value& value, int depth) {
  check_depth(depth);
  if (value.is_number()) return std::hash<double>()(value.as_real());
  switch (value.kind()) {
    case Kind::kString:
      budget.spend_for_bytes(value.view().size());
      return std::hash<std::string_view>()(value.view());
    case Kind::kTuple: {
      std::size_t seed = 7;
      for (const Value& item : value.as_sequence().items) {
        seed = combine(seed, hash_of(budget, item, depth + 1));
      }
      return seed;
    }
    case Kind::kList:
    case Kind::kDict:
      fail("unhashable type: '{}'", type_name(value));
    case Kind::kOther:
      return std::hash<const void*>()(value.as_object());
    default:
      return static_cast<std::size_t>(value.kind());
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBoolean:
      return "bool";
    case Kind::kInteger:
      return "int";
    case Kind::kReal:
      return "float";
    case Kind::kString:
      return "str";
    default:
      return value.as_object()->type_name();
  }
}

std::string object_type_repr(const Value& value) {
  return value.is_none() ? "None" : type_name(value) + " object";
}

void fail_undefined(const Value& value) { fail(value.undefined_message()); }

void require_defined(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
}

}  // namespace tutti::text::jinja
