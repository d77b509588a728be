// The objects that templates meet beside lists and dicts: macros, namespaces, loops, ranges,
// iterators, views of dicts, global functions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/machine.h"

namespace tutti::text::jinja {

struct GlobalObject : Object {
  GlobalObject(std::string name, GlobalFunction function)
      : Object(Kind::kOther), name(std::move(name)), function(function) {}
  std::string type_name() const override { return "function"; }
  bool is_callable() const override { return true; }
  Value call(Machine& machine, const Arguments& arguments) override;
  void append_repr(Machine& machine, TextBuilder& out, int depth) override;

  std::string name;
  GlobalFunction function;
};

struct MacroObject : Object {
  MacroObject(const MacroDefinition& definition, Scope* scope)
      : Object(Kind::kOther), definition(definition), scope(scope) {}
  std::string type_name() const override { return "jinja2.runtime.Macro"; }
  bool is_callable() const override { return true; }
  Value call(Machine& machine, const Arguments& arguments) override;
  std::optional<Value> attribute(Machine& machine, std::string_view name) override;

  const MacroDefinition& definition;
  Scope* scope;  // where it was defined

 private:
  void bind(Machine& machine, const Arguments& arguments);
  void bind_extra(Machine& machine, const Arguments& arguments);
};

struct NamespaceObject : Object {
  NamespaceObject() : Object(Kind::kOther) {}
  std::string type_name() const override { return "jinja2.utils.Namespace"; }
  std::optional<Value> attribute(Machine& machine, std::string_view name) override;
  std::optional<Value> item(Machine& machine, const Value& key) override;

  Dict* attributes = nullptr;
};

// The variable `loop`.
struct LoopObject : Object {
  LoopObject() : Object(Kind::kOther) {}
  std::string type_name() const override { return "jinja2.runtime.LoopContext"; }
  bool is_callable() const override { return loop != nullptr; }
  Value call(Machine& machine, const Arguments& arguments) override;
  std::optional<Value> attribute(Machine& machine, std::string_view name) override;

  std::vector<Value> items;
  std::size_t index0 = 0;
  int depth0 = 0;
  const ForStatement* loop = nullptr;  // of a recursive loop
  Scope* scope = nullptr;              // around a recursive loop
  std::optional<std::vector<Value>> last_changed;
};
// What the loop prints when it runs over `iterable`, one level deeper.
Text run_recursive_loop(Machine& machine, const LoopObject& outer, const Value& iterable);

// range(start, stop, step).
struct RangeObject : Object {
  RangeObject(Integer start, Integer stop, Integer step)
      : Object(Kind::kOther), start(start), stop(stop), step(step) {}
  std::string type_name() const override { return "range"; }
  bool truthy() const override { return count() > 0; }
  std::optional<std::size_t> length() const override { return count(); }
  std::optional<std::vector<Value>> iterate(Machine& machine) override;
  std::optional<Value> item(Machine& machine, const Value& key) override;
  void append_repr(Machine& machine, TextBuilder& out, int depth) override;
  std::size_t count() const;

  Integer start, stop, step;
};

// What lazy filters give: made when first asked for, and used up by being iterated.
struct IteratorObject : Object {
  using Source = std::function<std::vector<Value>(Machine&)>;
  IteratorObject(std::string name, Source source)
      : Object(Kind::kOther), name(std::move(name)), source(std::move(source)) {}
  std::string type_name() const override { return name; }
  std::optional<std::vector<Value>> iterate(Machine& machine) override;
  // The next item alone; nullopt at the end.
  std::optional<Value> next(Machine& machine);
  // How many are left; they stay.
  std::size_t remaining(Machine& machine);

  std::string name;
  Source source;  // empty once used
  std::vector<Value> pending;
  std::size_t position = 0;

 private:
  void materialise(Machine& machine);
};

// dict.keys(), dict.values(), dict.items().
struct ViewObject : Object {
  ViewObject(std::string name, std::vector<Value> items)
      : Object(Kind::kOther), name(std::move(name)), items(std::move(items)) {}
  std::string type_name() const override { return name; }
  bool truthy() const override { return !items.empty(); }
  std::optional<std::size_t> length() const override { return items.size(); }
  std::optional<std::vector<Value>> iterate(Machine&) override { return items; }
  void append_repr(Machine& machine, TextBuilder& out, int depth) override;

  std::string name;
  std::vector<Value> items;
};

// joiner(): nothing the first time it is called, the separator afterwards.
struct JoinerObject : Object {
  explicit JoinerObject(Value separator) : Object(Kind::kOther), separator(std::move(separator)) {}
  std::string type_name() const override { return "jinja2.utils.Joiner"; }
  bool is_callable() const override { return true; }
  Value call(Machine& machine, const Arguments& arguments) override;

  Value separator;
  bool used = false;
};

// cycler(): its items in turn.
struct CyclerObject : Object {
  explicit CyclerObject(std::vector<Value> items) : Object(Kind::kOther), items(std::move(items)) {}
  std::string type_name() const override { return "jinja2.utils.Cycler"; }
  std::optional<Value> attribute(Machine& machine, std::string_view name) override;

  std::vector<Value> items;
  std::size_t position = 0;
};

}  // namespace tutti::text::jinja
