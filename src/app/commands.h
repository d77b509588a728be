// The commands behind the flags. Each returns the process's exit code: 0, or 1 after a message on
// standard error.
#pragma once

#include <memory>
#include <string>

#include "app/options.h"
#include "base/result.h"

namespace tutti::store {
struct LoadOptions;
struct LoadedModel;
struct RemoteEngine;
}  // namespace tutti::store

namespace tutti::app {

int serve(const ServeOptions& options);
int run_engine(const EngineOptions& options);
int run_chat(const RunOptions& options);
int inspect(const InspectOptions& options);
int tokenize(const TokenizeOptions& options);
int detokenize(const DetokenizeOptions& options);
int render_template(const TemplateOptions& options);
int logits(const LogitsOptions& options);
int bench(const BenchOptions& options);

// Prints "error: <message>" and returns 1.
int report(const Status& status);

// What load_model wants, from the flags; `name` is the model as typed. Errors name the flag.
Result<store::LoadOptions> make_load_options(const std::string& name, const ModelOptions& options);

// Loads with a progress bar on standard error when that is a terminal. `remote`: the engine in a
// process of its own; null: in this one.
Result<std::shared_ptr<store::LoadedModel>> load_with_progress(
    const store::LoadOptions& load, const store::RemoteEngine* remote = nullptr);

// The whole of standard input; kTooLarge over `max_bytes`.
Result<std::string> read_standard_input(std::size_t max_bytes);

}  // namespace tutti::app
