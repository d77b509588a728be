// EngineFacts as JSON.
#include "base/json.h"
#include "store/engine_model.h"

namespace tutti::store {
namespace {

// Lists the members once: `member(name, value)`.
void for_each_member(auto& facts, auto&& member) {
  member("available", facts.plan.available.bytes);
  member("bound", facts.plan.available.source);
  member("fraction", facts.plan.fraction);
  member("promised", facts.plan.promised);
  member("program", facts.plan.program);
  member("weights", facts.plan.weights);
  member("scratch", facts.plan.scratch);
  member("spill", facts.plan.spill);
  member("kv_block", facts.plan.kv_block);
  member("num_blocks", facts.plan.num_blocks);
  member("max_model_len", facts.plan.max_model_len);
  member("promised_bytes", facts.promised_bytes);
  member("compute_class", facts.compute_class);
  member("isa", facts.isa);
  member("num_threads", facts.num_threads);
  member("kv_dtype", facts.kv_dtype);
  member("use_prefix_cache", facts.use_prefix_cache);
}

bool read_value(const json::value& value, std::string& out) {
  if (const auto* text = value.if_string()) out = text->c_str();
  return value.is_string();
}

bool read_value(const json::value& value, bool& out) {
  if (const auto* flag = value.if_bool()) out = *flag;
  return value.is_bool();
}

template <typename Number>
bool read_value(const json::value& value, Number& out) {
  boost::system::error_code error;
  out = value.to_number<Number>(error);
  return !error;
}

}  // namespace

std::string write_facts(const EngineFacts& facts) {
  json::object object;
  for_each_member(facts, [&](const char* name, const auto& value) { object[name] = value; });
  return write_json(object);
}

Result<EngineFacts> read_facts(const std::string& text) {
  TUTTI_ASSIGN_OR_RETURN(const json::value value, parse_json(text));
  const json::object* object = value.if_object();
  if (!object) return corrupt("the engine's facts are no object");
  EngineFacts facts;
  Status status;
  for_each_member(facts, [&](const char* name, auto& member) {
    const json::value* found = object->if_contains(name);
    if (status.ok() && (!found || !read_value(*found, member))) {
      status = corrupt(std::string("the engine's facts lack ") + name);
    }
  });
  if (!status.ok()) return status;
  return facts;
}

}  // namespace tutti::store
