#include "text/go_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "text/go/ast.h"
#include "text/go/functions.h"
#include "text/jinja/ast.h"
#include "text/jinja/input.h"
#include "text/jinja/machine.h"

namespace tutti::text {
namespace go {
namespace {

using jinja::fail;
using jinja::Kind;
using jinja::Machine;
using jinja::Value;

enum class Flow { kNext, kBreak, kContinue, kEnd };

class Interpreter {
 public:
  // `ends_at_response`: nothing is written from the first {{ .Response }} on.
  Interpreter(const Program& program, Machine& machine, bool ends_at_response)
      : program_(program), machine_(machine), ends_at_response_(ends_at_response) {}

  void run(const Value& data) {
    variables_.emplace_back("$", data);
    execute(program_.root, data);
  }

  int line() const { return line_; }

 private:
  Flow execute(const std::vector<Node>& nodes, const Value& dot) {
    const Machine::DepthGuard guard(machine_);
    const std::size_t scope = variables_.size();
    Flow flow = Flow::kNext;
    for (const Node& node : nodes) {
      machine_.budget().spend(1);
      flow = execute(node, dot);
      if (flow != Flow::kNext) break;
    }
    variables_.resize(scope);
    return flow;
  }

  Flow execute(const Node& node, const Value& dot) {
    switch (node.kind) {
      case NodeKind::kText:
        machine_.output().append(node.text);
        return Flow::kNext;
      case NodeKind::kPrint:
        return print(*node.pipeline, dot);
      case NodeKind::kIf:
      case NodeKind::kWith: {
        const std::size_t scope = variables_.size();
        const Value value = evaluate(*node.pipeline, dot);
        const bool is_with = node.kind == NodeKind::kWith;
        const Flow flow = jinja::truthy(value) ? execute(node.body, is_with ? value : dot)
                                               : execute(node.otherwise, dot);
        variables_.resize(scope);
        return flow;
      }
      case NodeKind::kRange:
        return range(node, dot);
      case NodeKind::kTemplate:
        return call_template(node, dot);
      case NodeKind::kBreak:
        return Flow::kBreak;
      case NodeKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Flow print(const Pipeline& pipeline, const Value& dot) {
    if (ends_at_response_ && reads_response(pipeline)) return Flow::kEnd;
    const Value value = evaluate(pipeline, dot);
    if (pipeline.variables.empty()) append_printed(machine_, machine_.output(), value);
    return Flow::kNext;
  }

  static bool reads_response(const Pipeline& pipeline) {
    for (const Command& command : pipeline.commands) {
      for (const Operand& operand : command) {
        if (operand.fields.size() == 1 && operand.fields[0] == "Response") return true;
      }
    }
    return false;
  }

  // What a range goes over: keys (or indexes) and values.
  std::vector<std::pair<Value, Value>> entries_of(const Value& value) {
    std::vector<std::pair<Value, Value>> entries;
    if (value.is_none()) return entries;
    if (value.is(Kind::kDict)) {
      std::vector<const jinja::Dict::Entry*> sorted;
      for (const auto& entry : value.as_dict().entries()) sorted.push_back(&entry);
      std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
        return a->key.is_string() && b->key.is_string() && a->key.view() < b->key.view();
      });
      for (const auto* entry : sorted) entries.emplace_back(entry->key, entry->value);
      return entries;
    }
    if (!value.is_sequence()) fail("range can't iterate over {}", jinja::type_name(value));
    for (Value& item : machine_.iterate(value)) {
      entries.emplace_back(Value::integer(static_cast<jinja::Integer>(entries.size())),
                           std::move(item));
    }
    return entries;
  }

  Flow range(const Node& node, const Value& dot) {
    const std::size_t scope = variables_.size();
    const auto entries = entries_of(evaluate_commands(*node.pipeline, dot));
    machine_.heap().pay_for_values(2 * entries.size());
    if (entries.empty()) return execute(node.otherwise, dot);
    const auto& names = node.pipeline->variables;
    for (const auto& [key, value] : entries) {
      machine_.budget().spend(1);
      if (names.size() == 2) variables_.emplace_back(names[0], key);
      if (!names.empty()) variables_.emplace_back(names.back(), value);
      const Flow flow = execute(node.body, value);
      variables_.resize(scope);
      if (flow == Flow::kBreak) break;
      if (flow == Flow::kEnd) return flow;
    }
    return Flow::kNext;
  }

  Flow call_template(const Node& node, const Value& dot) {
    const auto found = program_.templates.find(node.text.view());
    if (found == program_.templates.end()) fail("there is no template '{}'", node.text.view());
    const Value data = node.pipeline ? evaluate(*node.pipeline, dot) : Value();
    auto outer = std::exchange(variables_, {{"$", data}});
    const Flow flow = execute(found->second, data);
    variables_ = std::move(outer);
    return flow == Flow::kEnd ? flow : Flow::kNext;
  }

  Value evaluate(const Pipeline& pipeline, const Value& dot) {
    Value value = evaluate_commands(pipeline, dot);
    for (const std::string& name : pipeline.variables) {
      if (pipeline.is_assignment) {
        *find_variable(name) = value;
      } else {
        variables_.emplace_back(name, value);
      }
    }
    return value;
  }

  Value evaluate_commands(const Pipeline& pipeline, const Value& dot) {
    const Machine::DepthGuard guard(machine_);
    line_ = pipeline.line;
    std::optional<Value> piped;
    for (const Command& command : pipeline.commands) {
      const Value value = evaluate(command, dot, piped);
      piped.emplace(value);
    }
    return *piped;
  }

  Value evaluate(const Command& command, const Value& dot, const std::optional<Value>& piped) {
    machine_.budget().spend(1);
    const Operand& head = command.front();
    if (head.kind != OperandKind::kFunction) {
      if (command.size() > 1 || piped) fail("can't give arguments to what is no function");
      return evaluate(head, dot);
    }
    if (head.name == "and" || head.name == "or") return logical(command, dot, piped);
    const Function function = find_function(head.name);
    if (function == nullptr) fail("function \"{}\" not defined", head.name);
    std::vector<Value> values;
    for (std::size_t i = 1; i < command.size(); ++i) values.push_back(evaluate(command[i], dot));
    if (piped) values.push_back(*piped);
    return function(machine_, values);
  }

  Value logical(const Command& command, const Value& dot, const std::optional<Value>& piped) {
    const bool is_and = command.front().name == "and";
    if (command.size() == 1 && !piped) fail("{} needs a value", command.front().name);
    for (std::size_t i = 1; i < command.size(); ++i) {
      Value value = evaluate(command[i], dot);
      const bool is_last = i + 1 == command.size() && !piped;
      if (is_last || jinja::truthy(value) != is_and) return value;
    }
    return *piped;
  }

  Value evaluate(const Operand& operand, const Value& dot) {
    static const Value kNil;
    Value value = head_of(operand, dot);
    for (const std::string& field : operand.fields) {
      const Value* found = value.is(Kind::kDict) ? value.as_dict().find(field) : nullptr;
      const Value next = found != nullptr ? *found : kNil;
      value = next;
    }
    return value;
  }

  // The operand before its fields are taken.
  Value head_of(const Operand& operand, const Value& dot) {
    switch (operand.kind) {
      case OperandKind::kConstant:
        return operand.constant;
      case OperandKind::kVariable:
        return *find_variable(operand.name);
      case OperandKind::kParentheses:
        return evaluate_commands(*operand.inner, dot);
      case OperandKind::kFunction:
        return evaluate(Command{operand_without_fields(operand)}, dot, std::nullopt);
      case OperandKind::kDot:
        break;
    }
    return dot;
  }

  static Operand operand_without_fields(const Operand& operand) {
    Operand bare = operand;
    bare.fields.clear();
    return bare;
  }

  Value* find_variable(const std::string& name) {
    for (auto entry = variables_.rbegin(); entry != variables_.rend(); ++entry) {
      if (entry->first == name) return &entry->second;
    }
    fail("undefined variable \"{}\"", name);
  }

  const Program& program_;
  Machine& machine_;
  const bool ends_at_response_;
  std::vector<std::pair<std::string, Value>> variables_;  // innermost last
  int line_ = 1;
};

}  // namespace
}  // namespace go

GoTemplate::GoTemplate(std::shared_ptr<const go::Program> program) : program_(std::move(program)) {}

Result<GoTemplate> GoTemplate::parse(std::string_view source) {
  if (source.size() > (std::size_t{4} << 20)) {
    return Status(ErrorKind::kTooLarge, "the template is longer than 4 MiB", "template");
  }
  TUTTI_ASSIGN_OR_RETURN(auto program, go::parse_program(source));
  return GoTemplate(std::move(program));
}

Result<RenderedPrompt> GoTemplate::render(const boost::json::object& data,
                                          const RenderOptions& options) const {
  static const jinja::Program kNoProgram;
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(options.now.value_or(std::chrono::system_clock::now()));
  std::tm time{};
  localtime_r(&seconds, &time);
  jinja::Budget budget(options.fuel, options.max_memory_bytes);
  std::optional<jinja::Machine> machine;
  std::optional<go::Interpreter> interpreter;
  try {
    machine.emplace(kNoProgram, budget, options.max_output_bytes, time);
    interpreter.emplace(*program_, *machine, !data.contains("Response"));
    interpreter->run(jinja::value_of(machine->heap(), data));
    const jinja::Text text = machine->output().finish();
    return RenderedPrompt{std::string(text.view()), {text.content().begin(), text.content().end()}};
  } catch (const jinja::Failure& failure) {
    return invalid_argument(
        "template", fmt::format("template line {}: {}", interpreter ? interpreter->line() : 1,
                                failure.message));
  }
}

bool GoTemplate::mentions_field(const std::string& name) const {
  return program_->fields.contains(name);
}

}  // namespace tutti::text
