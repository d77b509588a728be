// The state of one render: what is left of the budget, the values, the scopes, the output.
//
// Thread safety: owned by one render.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace tutti::text::jinja {

// The variables of a block, and the block around it.
struct Scope : Object {
  explicit Scope(Scope* parent) : Object(Kind::kOther), parent(parent) {}
  std::string type_name() const override { return "scope"; }
  Value* find_own(Symbol symbol);
  void set(Symbol symbol, Value value);

  Scope* parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool is_captured = false;  // a macro made inside may outlive the block
};

class Machine {
 public:
  Machine(const Program& program, Budget& budget, std::size_t max_output_bytes, std::tm now);

  // Each counts a step and a level of nesting.
  Value evaluate(const Expression& expression);
  Flow execute(const Body& body);
  // What executing the body prints.
  Text capture(const Body& body) {
    return capture_output([&] { execute(body); });
  }
  // What is printed while `action()` runs.
  template <typename Action>
  Text capture_output(Action action);

  Value* find_variable(Symbol symbol);
  void assign(const Target& target, const Value& value);
  Arguments evaluate_arguments(const ArgumentList& list);
  Value apply(const FilterCall& filter, const Value& input);
  Value apply_all(const std::vector<FilterCall>& filters, Value input);
  Value call(const Value& callee, const Arguments& arguments);

  // `value.name` and `value[key]` as templates see them; undefined when there is no such thing.
  Value attribute(const Value& value, const Text& name);
  Value item(const Value& value, const Value& key);
  Value slice(const Value& value, const Value& start, const Value& stop, const Value& step);
  // The items of an iterable. Throws for what cannot be iterated.
  std::vector<Value> iterate(const Value& value);
  // Python's len(); nullopt where there is none.
  std::optional<std::size_t> length(const Value& value);
  // str(value).
  Text to_text(const Value& value);
  void append_text(TextBuilder& out, const Value& value);

  // Bounds recursion that goes through C++: throws Failure{kLimit}.
  class DepthGuard {
   public:
    explicit DepthGuard(Machine& machine);
    ~DepthGuard() { --machine_.depth_; }
    DepthGuard(const DepthGuard&) = delete;
    DepthGuard& operator=(const DepthGuard&) = delete;

   private:
    Machine& machine_;
  };
  // A new innermost scope inside `parent` while it lives.
  class ScopeGuard {
   public:
    explicit ScopeGuard(Machine& machine) : ScopeGuard(machine, machine.scope_) {}
    ScopeGuard(Machine& machine, Scope* parent)
        : machine_(machine), saved_(std::exchange(machine.scope_, machine.take_scope(parent))) {}
    ~ScopeGuard() { machine_.give_back(std::exchange(machine_.scope_, saved_)); }
    ScopeGuard(const ScopeGuard&) = delete;
    ScopeGuard& operator=(const ScopeGuard&) = delete;

   private:
    Machine& machine_;
    Scope* saved_;
  };
  // Something that outlives the current block refers to its scopes: they are not used again.
  void keep_scopes();

  Budget& budget() { return budget_; }
  Heap& heap() { return heap_; }
  Scope* scope() { return scope_; }
  TextBuilder& output() { return *output_; }
  const std::string& name_of(Symbol symbol) const { return program_.names[symbol]; }
  const std::vector<std::string>& names() const { return program_.names; }
  const std::tm& now() const { return now_; }
  int line() const { return line_; }
  std::size_t max_output_bytes() const { return max_output_bytes_; }

 private:
  Scope* take_scope(Scope* parent);
  void give_back(Scope* scope);

  const Program& program_;
  Budget& budget_;
  std::size_t max_output_bytes_;
  std::tm now_;
  Heap heap_;
  TextBuilder main_output_;
  TextBuilder* output_ = &main_output_;
  std::vector<Scope*> free_scopes_;
  Scope* scope_;
  int depth_ = 0;
  int line_ = 1;
};

template <typename Action>
Text Machine::capture_output(Action action) {
  struct OutputGuard {
    TextBuilder*& output;
    TextBuilder* saved;
    ~OutputGuard() { output = saved; }
  };
  TextBuilder captured(budget_, max_output_bytes_);
  {
    const OutputGuard guard{output_, std::exchange(output_, &captured)};
    action();
  }
  return captured.finish();
}

}  // namespace tutti::text::jinja
