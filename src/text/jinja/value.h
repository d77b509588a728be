// The values of a template: Python's, as far as templates can tell.
//
// Scalars and strings are held by value; lists, dicts and everything else are objects of the
// render's Heap and live until it ends, so that cycles need no care.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/failure.h"
#include "text/jinja/text.h"

namespace tutti::text::jinja {

// Wide enough for every 64-bit integer of JSON, signed or not, and for sums and products of them;
// what does not fit is an error, not a wrapped number.
using Integer = __int128;

class Machine;
class Value;
struct Object;
struct Sequence;
struct Dict;

enum class Kind {
  kUndefined,
  kNone,
  kBoolean,
  kInteger,
  kReal,
  kString,
  kList,
  kTuple,
  kDict,
  kOther
};

struct Undefined {
  // What is said when somebody uses the value, e.g. "'x' is undefined".
  std::shared_ptr<const std::string> message;
};
struct None {};

class Value {
 public:
  Value() : storage_(None{}) {}
  static Value undefined(std::string message);
  static Value boolean(bool value) { return Value(Storage(value)); }
  static Value integer(Integer value) { return Value(Storage(value)); }
  static Value real(double value) { return Value(Storage(value)); }
  static Value string(Text text) { return Value(Storage(std::move(text))); }
  static Value object(Object* object) { return Value(Storage(object)); }

  Kind kind() const;
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_string() const { return std::holds_alternative<Text>(storage_); }
  // An int or a bool, which Python counts as one.
  bool is_integral() const;
  bool is_number() const { return is_integral() || std::holds_alternative<double>(storage_); }
  bool is_sequence() const { return is(Kind::kList) || is(Kind::kTuple); }

  // Each only for its own kind.
  const std::string& undefined_message() const;
  bool as_boolean() const { return std::get<bool>(storage_); }
  Integer as_integer() const;  // of an int or a bool
  double as_real() const;      // of any number
  const Text& as_text() const { return std::get<Text>(storage_); }
  std::string_view view() const { return as_text().view(); }
  Object* as_object() const { return std::get<Object*>(storage_); }
  Sequence& as_sequence() const;
  Dict& as_dict() const;

 private:
  using Storage = std::variant<Undefined, None, bool, Integer, double, Text, Object*>;
  explicit Value(Storage storage) : storage_(std::move(storage)) {}

  Storage storage_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// Whatever has identity. The virtual members are what Python's protocols are for the kinds that
// are neither list nor dict; by default an object can do nothing.
struct Object {
  explicit Object(Kind kind) : kind(kind) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  // Python's name of the type, e.g. "dict".
  virtual std::string type_name() const = 0;
  virtual void append_repr(Machine& machine, TextBuilder& out, int depth);
  virtual bool truthy() const { return true; }
  virtual bool is_callable() const { return false; }
  virtual Value call(Machine& machine, const Arguments& arguments);
  virtual std::optional<Value> attribute(Machine& machine, std::string_view name);
  virtual std::optional<Value> item(Machine& machine, const Value& key);
  // The items, in order; nullopt when the object cannot be iterated. Iterators are used up by it.
  virtual std::optional<std::vector<Value>> iterate(Machine& machine);
  virtual std::optional<std::size_t> length() const { return std::nullopt; }

  const Kind kind;
};

// A list or a tuple.
struct Sequence : Object {
  explicit Sequence(Kind kind) : Object(kind) {}
  std::string type_name() const override { return kind == Kind::kList ? "list" : "tuple"; }

  std::vector<Value> items;
  bool is_group = false;  // a (grouper, list) pair of the groupby filter
};

// A dict: keys in order of insertion, found by hash once there are more than a few.
struct Dict : Object {
  Dict() : Object(Kind::kDict) {}
  std::string type_name() const override { return "dict"; }

  struct Entry {
    Value key;
    Value value;
  };
  // nullptr when absent. Throws for a key that cannot be hashed.
  Value* find(Budget& budget, const Value& key);
  Value* find(std::string_view key);
  bool erase(Budget& budget, const Value& key);
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }  // values may change, keys may not
  void clear();

 private:
  friend class Heap;
  void insert(std::size_t hash, Value key, Value value);
  std::optional<std::size_t> position(Budget& budget, std::size_t hash, const Value& key) const;
  void rebuild_index();

  std::vector<Entry> entries_;
  std::vector<std::size_t> hashes_;
  std::unordered_multimap<std::size_t, std::size_t> index_;  // empty up to kScannedEntries entries
};

// Owns the objects of a render and counts what they hold against its budget. What objects take is
// given back only when the heap goes.
class Heap {
 public:
  explicit Heap(Budget& budget) : budget_(budget) {}

  template <typename T, typename... Args>
  T* make(Args&&... args) {
    pay(sizeof(T) + kObjectOverhead);
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }
  Value list(std::vector<Value> items) { return sequence(Kind::kList, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Kind::kTuple, std::move(items)); }
  Dict* dict() { return make<Dict>(); }
  // Sets or overwrites. Throws for a key that cannot be hashed.
  void put(Dict& dict, Value key, Value value);
  void append(Sequence& sequence, Value value);
  // Pays a step and the memory of `count` values about to be made.
  void pay_for_values(std::size_t count);
  Budget& budget() { return budget_; }

  Value string(std::string_view bytes, bool is_content = false) {
    return Value::string(Text::make(budget_, bytes, is_content));
  }

 private:
  static constexpr std::size_t kObjectOverhead = 32;
  Value sequence(Kind kind, std::vector<Value> items);
  void pay(std::size_t bytes);

  Budget& budget_;
  std::vector<std::unique_ptr<Object>> objects_;
};

// How deep values may nest where they are compared, printed or converted.
inline constexpr int kMaxValueDepth = 200;

bool truthy(const Value& value);
// Python's ==. This and the next two pay for the bytes and the values they read.
bool equal(Budget& budget, const Value& left, const Value& right, int depth = 0);
// Negative, zero or positive; throws as Python's < does for kinds without an order.
int compare(Budget& budget, const Value& left, const Value& right, const char* operation,
            int depth = 0);
std::size_t hash_of(Budget& budget, const Value& value, int depth = 0);
// Python's name of the type: "str", "NoneType", "int" …
std::string type_name(const Value& value);
// As Jinja names the type in messages: "dict object", "None".
std::string object_type_repr(const Value& value);
[[noreturn]] void fail_undefined(const Value& value);
// fail_undefined when the value is undefined.
void require_defined(const Value& value);

}  // namespace tutti::text::jinja
