#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/json.h"
#include "dialects/ollama.h"
#include "dialects/utf8.h"

namespace tutti::dialects::ollama {
namespace {

struct ErrorRow {
  ErrorKind kind;
  int http_status;
  const char* message;  // in place of the error's own; null: its own
};

constexpr ErrorRow kErrors[] = {
    {ErrorKind::kInvalidArgument, 400, nullptr},
    {ErrorKind::kUnsupported, 400, nullptr},
    {ErrorKind::kNotFound, 404, nullptr},
    {ErrorKind::kTooLarge, 413, nullptr},
    // Ollama's own words, two spaces included: clients look for them.
    {ErrorKind::kOverloaded, 503,
     "server busy, please try again.  maximum pending requests exceeded"},
    {ErrorKind::kDeadlineExceeded, 504, nullptr},
    {ErrorKind::kCancelled, 499, "the request was cancelled"},
    {ErrorKind::kUnavailable, 503, nullptr},
    {ErrorKind::kCorrupt, 500, "internal error"},
    {ErrorKind::kInternal, 500, "internal error"},
};

json::object details_json(const ModelCard& card) {
  return {{"parent_model", ""},
          {"format", card.format},
          {"family", card.family},
          {"families", json::array{json::value(card.family)}},
          {"parameter_size", card.parameter_size},
          {"quantization_level", card.quantization_level},
          {"context_length", card.context_length},
          {"embedding_length", card.embedding_length}};
}

json::array strings_json(const std::vector<std::string>& strings) {
  return json::array(strings.begin(), strings.end());
}

json::object card_json(const ModelCard& card) {
  return {{"name", card.name},
          {"model", card.name},
          {"size", card.size_bytes},
          {"digest", card.digest},
          {"details", details_json(card)}};
}

}  // namespace

HttpError render_error(const Status& status) {
  const ErrorRow* row = std::find_if(std::begin(kErrors), std::end(kErrors) - 1,
                                     [&](const ErrorRow& r) { return r.kind == status.kind(); });
  json::object body;
  body["error"] =
      row->message != nullptr ? std::string(row->message) : well_formed_utf8(status.message());
  HttpError error;
  error.status = row->http_status;
  error.body = write_json(body);
  return error;
}

std::string render_tags(const std::vector<ModelCard>& models) {
  json::array list;
  for (const ModelCard& card : models) {
    json::object model = card_json(card);
    model["modified_at"] = card.modified_at;
    model["capabilities"] = strings_json(card.capabilities);
    list.push_back(std::move(model));
  }
  return write_json(json::object{{"models", std::move(list)}});
}

std::string render_ps(const std::vector<RunningModel>& models) {
  json::array list;
  for (const RunningModel& running : models) {
    json::object model = card_json(running.card);
    model["expires_at"] = running.expires_at;
    // No device memory is in use.
    model["size_vram"] = 0;
    model["context_length"] = running.card.context_length;
    list.push_back(std::move(model));
  }
  return write_json(json::object{{"models", std::move(list)}});
}

std::string render_show(const ModelDetails& details, bool verbose) {
  json::object out{{"license", details.license},
                   {"modelfile", details.modelfile},
                   {"parameters", details.parameters},
                   {"template", details.chat_template},
                   {"system", details.system},
                   {"details", details_json(details.card)},
                   {"model_info", details.model_info},
                   {"capabilities", strings_json(details.card.capabilities)},
                   {"modified_at", details.card.modified_at}};
  if (verbose) out["tensors"] = details.tensors;
  return write_json(out);
}

std::string render_version() { return write_json(json::object{{"version", TUTTI_VERSION}}); }

std::string canonical_name(std::string_view name) {
  for (const std::string_view prefix : {"registry.ollama.ai/", "library/"}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  if (name.empty()) return {};
  // A colon before the last slash belongs to a host's port.
  const std::size_t slash = name.rfind('/');
  const std::size_t tag = name.find(':', slash == std::string_view::npos ? 0 : slash);
  return tag == std::string_view::npos ? fmt::format("{}:latest", name) : std::string(name);
}

}  // namespace tutti::dialects::ollama
