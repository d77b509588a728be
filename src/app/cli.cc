#include "app/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>

#include "app/commands.h"
#include "app/flag_table.h"
#include "app/tenant_settings.h"
#include "base/log.h"

namespace tutti::app {
namespace {

// One command under construction: adds flags to CLI11 and to the table at once.
class CommandBuilder {
 public:
  CommandBuilder(CLI::App& app, FlagTable& table, const std::string& name, const std::string& help)
      : command_(app.add_subcommand(name, help)), table_(table), name_(name) {}

  template <typename T>
  CLI::Option* add(const std::string& flag, T& target, const std::string& help,
                   const std::vector<ForeignVariable>& foreign = {}) {
    CLI::Option* option = nullptr;
    if constexpr (std::is_same_v<T, bool>) {
      option = command_->add_flag("--" + flag, target, help);
    } else {
      option = command_->add_option("--" + flag, target, help)->capture_default_str();
    }
    return remember(flag, help, option, foreign, is_list<T>());
  }

  // A flag that may stand alone, and then means `value`.
  CLI::Option* add_with_default(const std::string& flag, std::string& target,
                                const std::string& value, const std::string& help) {
    CLI::Option* option = command_->add_flag(fmt::format("--{}{{{}}}", flag, value), target, help);
    return remember(flag, help, option, {}, false);
  }

  template <typename T>
  CLI::Option* add_positional(const std::string& name, T& target, const std::string& help) {
    std::string key = name;
    for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (is_list<T>()) key += "s";
    CLI::Option* option = command_->add_option(name, target, help);
    return remember(key, help, option, {}, is_list<T>());
  }

  CLI::App* command() { return command_; }

 private:
  template <typename T>
  static constexpr bool is_list() {
    return std::is_same_v<T, std::vector<std::string>> || std::is_same_v<T, std::vector<int>>;
  }

  CLI::Option* remember(const std::string& name, const std::string& help, CLI::Option* option,
                        std::vector<ForeignVariable> foreign, bool list) {
    if (list && option->get_delimiter() == '\0') option->delimiter(',');
    table_.add({name_, name, help, option, list, std::move(foreign)});
    return option;
  }

  CLI::App* command_;
  FlagTable& table_;
  std::string name_;
};

const CLI::Range kAnyCount(0, 1 << 30);

// Ollama's words; what it does not know either is left for the check to refuse.
std::optional<std::string> kv_cache_dtype_of(const std::string& value) {
  if (value == "f16") return "auto";
  return value == "q8_0" ? "int8" : value;
}

void add_model_flags(CommandBuilder& builder, ModelOptions& model) {
  builder.add("models-dir", model.models_dir,
              "Ollama's model folder, where names are looked up (default ~/.ollama/models)",
              {{"OLLAMA_MODELS"}});
  builder
      .add("compute", model.compute,
           "arithmetic: auto (for quantised weights q8, or int8 for Q4_K and Q5_K with AMX; else "
           "bf16), bf16, int8, q8, or f32 (the slow scalar reference, for checking)")
      ->check(CLI::IsMember({"auto", "bf16", "int8", "q8", "f32"}));
  builder
      .add("isa", model.isa,
           "instruction set: auto (the best this machine has), ref, avx2, avx512, amx, neon")
      ->check(CLI::IsMember({"auto", "ref", "avx2", "avx512", "amx", "neon"}));
  builder.add("repack-cache", model.repack_cache,
              "keep the weights that the classes int8 and q8 repack in a file beside the model "
              "(MODEL.q8-cache), and read them from it");
  builder.add("threads", model.threads, "compute threads; 0: one for each physical core given")
      ->check(CLI::Range(0, 1024));
  builder
      .add("kv-cache-dtype", model.kv_cache_dtype,
           "how keys and values are kept: auto (bf16; float32 with --compute f32), bf16 (also "
           "bfloat16), or int8 with a scale for each token and head, which takes half the memory",
           {{"OLLAMA_KV_CACHE_TYPE", kv_cache_dtype_of}})
      ->check(CLI::IsMember({"auto", "bf16", "bfloat16", "int8"}));
}

void add_cache_flags(CommandBuilder& builder, ModelOptions& model) {
  builder
      .add("max-model-len", model.max_model_len,
           "longest context in tokens; 0: the model's own, or what memory allows",
           {{"OLLAMA_CONTEXT_LENGTH"}})
      ->check(kAnyCount);
  builder.add("kv-cache-size", model.kv_cache_size,
              "memory for keys and values, e.g. 4GiB; auto: from the memory that is free");
  builder
      .add("memory-fraction", model.memory_fraction,
           "share of the free memory that weights, cache and all may take, 0.9 say, and the cache "
           "then does; 0: all, and a modest cache")
      ->check(CLI::Range(0.0, 1.0));
  builder.add("memory-limit", model.memory_limit,
              "plan for at most so much memory, e.g. 8GiB; auto: what the machine and the cgroup "
              "leave");
  builder
      .add("token-budget", model.token_budget,
           "most rows of a step: decodes first, the rest goes to prompts")
      ->check(CLI::Range(1, 1 << 20));
  builder
      .add("target-itl", model.target_itl,
           "milliseconds between two tokens of an answer while prompts are computed beside it, or "
           "twice what the answers alone take, whichever is longer; auto: 2.7 times what they "
           "alone take, 1 at least and 100 at most; 0: prompts fill the token budget")
      ->check(CLI::IsMember({"auto"}) | CLI::Range(0, 3'600'000));
  builder.add("max-running", model.max_running, "most sequences computed in one step")
      ->check(CLI::Range(1, 1 << 16));
  builder.add("no-prefix-cache", model.no_prefix_cache,
              "compute every prompt from its first token, whatever is in the cache");
  builder.add("kv-spill-dir", model.kv_spill_dir,
              "folder in which full blocks of the cache are kept too, in one file a model: prompts "
              "are found again when they no longer fit the memory, and after a crash or a restart; "
              "none: they are not");
  builder.add("kv-spill-size", model.kv_spill_size,
              "most that such a file takes, e.g. 16GiB; auto: 4 GiB, and no more than half of what "
              "is free there");
}

std::optional<std::string> host_of(const std::string& value) {
  return parse_ollama_host(value).host;
}
std::optional<std::string> port_of(const std::string& value) {
  return std::to_string(parse_ollama_host(value).port);
}
// Ollama reads a boolean that it cannot parse as true.
std::optional<std::string> debug_level(const std::string& value) {
  const bool off = value == "0" || value == "f" || value == "F" || value == "false" ||
                   value == "FALSE" || value == "False";
  return off ? std::nullopt : std::optional<std::string>("debug");
}

void add_log_flags(CommandBuilder& builder, std::string& level, std::string& format) {
  builder
      .add("log-level", level, "trace, debug, info, warn, error or off",
           {{"OLLAMA_DEBUG", debug_level}})
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));
  builder.add("log-format", format, "text, or json: one object a line")
      ->check(CLI::IsMember({"text", "json"}));
}

void add_serve(CLI::App& app, FlagTable& table, ServeOptions& options) {
  CommandBuilder builder(app, table, "serve", "Serve models over HTTP (OpenAI's and Ollama's API)");
  builder.add_positional("MODEL", options.models,
                         "GGUF files, Hugging Face folders, or names in Ollama's store; none: the "
                         "built-in demo model");
  builder.add("host", options.host, "address to listen on; 0.0.0.0 for all",
              {{"OLLAMA_HOST", host_of}});
  builder
      .add("port", options.port, "port to listen on; 0 for any free one",
           {{"OLLAMA_HOST", port_of}})
      ->check(CLI::Range(0, 65535));
  builder.add("served-model-name", options.served_model_names,
              "the name clients use, one for each MODEL");
  add_model_flags(builder, options.model);
  add_cache_flags(builder, options.model);
  builder
      .add("max-waiting", options.max_waiting, "requests that may queue; then 429 or 503",
           {{"OLLAMA_MAX_QUEUE"}})
      ->check(CLI::Range(1, 1 << 20));
  builder.add("allowed-hosts", options.allowed_hosts,
              "names besides loopback and the bound address that a Host header may carry");
  builder.add("allowed-origins", options.allowed_origins,
              "web origins besides loopback that browsers may call from", {{"OLLAMA_ORIGINS"}});
  builder.add("max-body-size", options.max_body_size, "largest request body, e.g. 64MiB");
  builder.add("max-body-memory", options.max_body_memory,
              "bodies of all requests together that are being read; then 503");
  builder
      .add("header-timeout", options.header_timeout_seconds,
           "seconds for a request's header to arrive")
      ->check(CLI::Range(1, 86400));
  builder
      .add("body-timeout", options.body_timeout_seconds, "seconds for a request's body to arrive")
      ->check(CLI::Range(1, 86400));
  builder
      .add("write-timeout", options.write_timeout_seconds,
           "seconds without progress after which a reader's stream ends")
      ->check(CLI::Range(1, 86400));
  builder
      .add("drain-timeout", options.drain_timeout_seconds,
           "seconds that running streams get to end after SIGTERM")
      ->check(CLI::Range(0, 86400));
  builder
      .add("sse-keep-alive", options.sse_keep_alive_seconds,
           "seconds without output after which a stream of events gets a comment")
      ->check(CLI::Range(1, 3600));
  builder.add("reuse-port", options.reuse_port,
              "listen beside another server on the same port, from when the models are loaded");
  builder
      .add_with_default("plan", options.plan, "table",
                        "print the memory plan and exit; --plan=json for a program to read")
      ->check(CLI::IsMember({"table", "json"}));
  builder.add("vllm-metric-names", options.vllm_metric_names,
              "also list metrics under vLLM's names, for its dashboards");
  builder.add("crash-dir", options.crash_dir,
              "folder for reports of engine processes that died; the newest 20 are kept (default "
              "$STATE_DIRECTORY, $XDG_STATE_HOME/tutti or ~/.local/state/tutti)");
  add_log_flags(builder, options.log_level, options.log_format);
  builder.add("log-content", options.log_content, "the log shows prompts and answers");
}

// Not for people: what serve tells the process that computes a model.
void add_engine(CLI::App& app, FlagTable& table, EngineOptions& options) {
  CommandBuilder builder(app, table, "engine",
                         "Compute a model for the tutti serve that starts it");
  builder.command()->group("");
  builder.add_positional("NAME", options.name, "the model, as for serve");
  add_model_flags(builder, options.model);
  add_cache_flags(builder, options.model);
  builder.add("promised-bytes", options.promised_bytes, "memory that other models will take");
  builder.add("front-pid", options.front_pid, "the process that starts this one");
  builder.add("core-group", options.core_group, "which of several engines this one is, from 0");
  builder.add("crash-report", options.crash_report, "file to write when it dies");
  add_log_flags(builder, options.log_level, options.log_format);
}

// The flags that serve hands on to its engines.
std::map<std::string, std::string> engine_flags(const FlagTable& table,
                                                const FlagTable& engine_table) {
  std::map<std::string, std::string> shared = table.given("serve");
  std::erase_if(shared, [&](const auto& given) {
    return std::none_of(engine_table.flags().begin(), engine_table.flags().end(),
                        [&](const Flag& flag) { return flag.name == given.first; });
  });
  return shared;
}

void add_run(CLI::App& app, FlagTable& table, RunOptions& options) {
  CommandBuilder builder(app, table, "run",
                         "Chat with a model in the terminal; Ctrl-C stops an answer, Ctrl-D ends");
  builder.add_positional("NAME", options.name, "the model, as for serve; none: the demo model");
  builder.add_positional("PROMPT", options.prompt,
                         "answer this and exit; text piped in is put before it");
  builder.add("system", options.system, "system message");
  builder.add("temperature", options.temperature, "0 is greedy; negative: the model's own default")
      ->check(CLI::Range(-1.0, 100.0));
  builder.add("max-tokens", options.max_tokens, "longest answer; 0: to the context's end")
      ->check(kAnyCount);
  builder.add("seed", options.seed, "seed of the sampler; negative: a random one");
  add_model_flags(builder, options.model);
  add_cache_flags(builder, options.model);
}

void add_bench(CLI::App& app, FlagTable& table, BenchOptions& options) {
  CommandBuilder builder(app, table, "bench",
                         "Measure prefill and decode beside what this machine could do");
  builder.add_positional("NAME", options.name, "the model, as for serve; none: the demo model");
  builder.add("prompt", options.prompt, "tokens of the prompt")->check(CLI::Range(1, 1 << 20));
  builder.add("generate", options.generate, "tokens each sequence decodes")
      ->check(CLI::Range(1, 1 << 20));
  builder.add("batch", options.batch, "numbers of sequences, e.g. 1,4,16,32")
      ->check(CLI::Range(1, 4096));
  builder.add("json", options.json, "print one JSON object");
  add_model_flags(builder, options.model);
}

void add_inspection(CLI::App& app, FlagTable& table, InspectOptions& inspect_options,
                    LogitsOptions& logits_options) {
  CommandBuilder inspect_builder(app, table, "inspect",
                                 "Print a model file's metadata and tensors as JSON");
  inspect_builder
      .add_positional("FILE", inspect_options.file, "a GGUF, a safetensors file or a folder")
      ->required();

  CommandBuilder logits_builder(app, table, "logits",
                                "Run token ids through a model and write every position's logits");
  logits_builder.add_positional("NAME", logits_options.name, "the model, as for serve")->required();
  logits_builder.add("ids", logits_options.ids, "token ids, e.g. 1,2,3")->required();
  logits_builder.add("out", logits_options.out, "safetensors file to write `logits` f32 [T, V] to")
      ->required();
  add_model_flags(logits_builder, logits_options.model);
}

void add_text(CLI::App& app, FlagTable& table, TokenizeOptions& tokenize_options,
              DetokenizeOptions& detokenize_options, TemplateOptions& template_options) {
  const std::string model_help =
      "the model, as for serve, or a folder with a tokenizer.json, or a GGUF with a vocabulary";
  CommandBuilder tokenize_builder(app, table, "tokenize",
                                  "Standard input, byte for byte, to {\"ids\":[…]}");
  tokenize_builder.add_positional("NAME", tokenize_options.model, model_help)->required();
  tokenize_builder.add("no-special", tokenize_options.no_special, "add no start or end token");
  tokenize_builder.add("plain", tokenize_options.plain,
                       "special tokens written in the text stay text");

  CommandBuilder detokenize_builder(app, table, "detokenize",
                                    "{\"ids\":[…]} on standard input to text");
  detokenize_builder.add_positional("NAME", detokenize_options.model, model_help)->required();
  detokenize_builder.add("with-special", detokenize_options.with_special,
                         "write special tokens out; without it they are left out");

  CommandBuilder template_builder(app, table, "template",
                                  "Render a chat template with the variables on standard input");
  CLI::Option* name = template_builder.add_positional("NAME", template_options.model,
                                                      "the model whose template to render");
  template_builder.add("template", template_options.file, "a template file instead")
      ->excludes(name);
}

const char* kFooter =
    "\nFlags may also come from the environment (TUTTI_SERVE_PORT, TUTTI_PORT, OLLAMA_HOST …) and\n"
    "from a TOML settings file. The command line wins over the environment, the environment over\n"
    "the file, the file over the defaults. See docs/configuration.md.";

// The first argument, when it is a command's place and no command's name.
std::optional<std::string> mistyped_command(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining();
  if (!app.get_subcommands().empty() || rest.empty() || rest.front().starts_with('-')) {
    return std::nullopt;
  }
  return rest.front();
}

Status unknown_command(CLI::App& app, const std::string& name) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_group().empty()) continue;  // hidden
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  return invalid_argument("command",
                          fmt::format("unknown command \"{}\"; there are {}", name, names));
}

// The whole command line, with what it and environment and settings file say.
struct Program {
  Program();

  // What CLI11 throws at a wrong command line, or when help is asked for, is thrown on.
  void parse(int argc, char** argv) { app.parse(argc, argv); }
  // What the command line left out, from environment and settings file.
  Status fill();

  CLI::App app{"Tutti: many people, one language model, your machine.", "tutti"};
  std::string settings_path;
  FlagTable table;
  FlagTable engine_table;  // neither documented nor filled from elsewhere
  std::string command;
  ServeOptions serve_options;
  EngineOptions engine_options;
  RunOptions run_options;
  BenchOptions bench_options;
  InspectOptions inspect_options;
  LogitsOptions logits_options;
  TokenizeOptions tokenize_options;
  DetokenizeOptions detokenize_options;
  TemplateOptions template_options;
};

Program::Program() {
  app.set_version_flag("--version", std::string("tutti " TUTTI_VERSION));
  app.require_subcommand(1);
  app.footer(kFooter);
  app.add_option("--config", settings_path,
                 "TOML settings file (default: TUTTI_CONFIG, "
                 "~/.config/tutti/config.toml, /etc/tutti/config.toml)");
  add_serve(app, table, serve_options);
  add_engine(app, engine_table, engine_options);
  add_run(app, table, run_options);
  add_bench(app, table, bench_options);
  add_inspection(app, table, inspect_options, logits_options);
  add_text(app, table, tokenize_options, detokenize_options, template_options);
  app.add_subcommand("config-reference", "Print the tables of docs/configuration.md")->group("");
}

Status Program::fill() {
  command = app.get_subcommands().front()->get_name();
  if (command == "config-reference" || command == "engine") return {};
  TUTTI_ASSIGN_OR_RETURN(const auto path, find_settings_file(settings_path));
  std::optional<SettingsFile> file;
  if (path) {
    TUTTI_ASSIGN_OR_RETURN(file, read_settings_file(*path));
    TUTTI_RETURN_IF_ERROR(table.check_keys(*file, *path));
    TUTTI_ASSIGN_OR_RETURN(serve_options.tenants, read_tenants(*path));
  }
  TUTTI_RETURN_IF_ERROR(table.fill(command, file));
  serve_options.given = table.given("serve");
  serve_options.engine_flags = engine_flags(table, engine_table);
  return {};
}

// serve's options as everything stands now.
Result<ServeOptions> read_serve_options(int argc, char** argv) {
  Program program;
  program.parse(argc, argv);  // it was good before
  TUTTI_RETURN_IF_ERROR(program.fill());
  program.serve_options.reread = [argc, argv] { return read_serve_options(argc, argv); };
  return program.serve_options;
}

}  // namespace

int main_with_arguments(int argc, char** argv) {
  log::initialise();
  Program program;
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const auto mistyped = mistyped_command(program.app);
    const bool asks_for_help = error.get_exit_code() == 0;
    if (mistyped && !asks_for_help) return report(unknown_command(program.app, *mistyped));
    return program.app.exit(error);
  }
  if (const Status status = program.fill(); !status.ok()) return report(status);
  if (program.command == "config-reference") {
    std::cout << program.table.as_markdown();
    return 0;
  }
  program.serve_options.reread = [argc, argv] { return read_serve_options(argc, argv); };

  const std::map<std::string, std::function<int()>> commands = {
      {"serve", [&] { return serve(program.serve_options); }},
      {"engine", [&] { return run_engine(program.engine_options); }},
      {"run", [&] { return run_chat(program.run_options); }},
      {"bench", [&] { return bench(program.bench_options); }},
      {"inspect", [&] { return inspect(program.inspect_options); }},
      {"logits", [&] { return logits(program.logits_options); }},
      {"tokenize", [&] { return tokenize(program.tokenize_options); }},
      {"detokenize", [&] { return detokenize(program.detokenize_options); }},
      {"template", [&] { return render_template(program.template_options); }},
  };
  return commands.at(program.command)();
}

}  // namespace tutti::app
