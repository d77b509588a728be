// What each command was told, after flags, environment and settings file were merged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/tenants.h"

namespace tutti::app {

// How a model is loaded; shared by serve, run, bench and logits.
struct ModelOptions {
  std::string models_dir;  // Ollama's store; empty: ~/.ollama/models
  std::string compute = "auto";
  std::string isa = "auto";
  bool repack_cache = false;
  int threads = 0;                     // 0: one for each physical core given
  int max_model_len = 0;               // 0: the model's own, or less where memory is short
  std::string kv_cache_size = "auto";  // "auto" or bytes with a unit: "4GiB"
  std::string kv_cache_dtype = "auto";
  double memory_fraction = 0;         // 0: a modest cache
  std::string memory_limit = "auto";  // "auto" or bytes with a unit
  int token_budget = 512;
  int max_running = 256;
  std::string target_itl = "auto";  // "auto" or milliseconds; 0: prompts fill the token budget
  bool no_prefix_cache = false;
  std::string kv_spill_dir;            // empty: no second tier
  std::string kv_spill_size = "auto";  // "auto" or bytes with a unit
};

// The process that serve starts for each model. Its flags are written by serve.
struct EngineOptions {
  std::string name = "demo";
  ModelOptions model;
  std::size_t promised_bytes = 0;
  int max_waiting = 1 << 20;  // serve bounds the queue; what it resumes is never refused
  int front_pid = 0;
  int core_group = -1;  // which of the engines that share the machine's cores; -1: the only one
  std::string crash_report;  // file to write when it dies; empty: none
  std::string log_level = "info";
  std::string log_format = "text";
};

struct ServeOptions {
  std::vector<std::string> models;  // empty: the demo model
  ModelOptions model;
  std::string host = "127.0.0.1";
  int port = 11434;
  std::vector<std::string> served_model_names;  // one for each model, or none
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> allowed_origins;
  int max_waiting = 512;
  std::string max_body_size = "64MiB";
  std::string max_body_memory = "256MiB";
  int header_timeout_seconds = 10;
  int body_timeout_seconds = 60;
  int write_timeout_seconds = 60;
  int drain_timeout_seconds = 30;
  int sse_keep_alive_seconds = 10;
  bool reuse_port = false;
  bool vllm_metric_names = false;
  std::string crash_dir;  // empty: the user's state folder
  std::string plan;       // "table" or "json": print the memory plan and exit
  std::string log_level = "info";
  std::string log_format = "text";
  bool log_content = false;
  std::vector<server::TenantSettings> tenants;  // of the settings file

  // The flags that were set, by whatever means, and their values as text.
  std::map<std::string, std::string> given;
  // All of this once more, as flags, environment and settings file are now.
  std::function<Result<ServeOptions>()> reread;
  // Flags that an engine process has too, as they were given: name to value.
  std::map<std::string, std::string> engine_flags;
};

struct RunOptions {
  std::string name = "demo";
  std::vector<std::string> prompt;  // words, joined by spaces
  ModelOptions model;
  std::string system;
  double temperature = -1;  // < 0: the model's own default
  int max_tokens = 0;       // 0: to the context's end
  std::int64_t seed = -1;   // < 0: random
};

struct InspectOptions {
  std::string file;
};

struct TokenizeOptions {
  std::string model;
  bool no_special = false;
  bool plain = false;
};

struct DetokenizeOptions {
  std::string model;
  bool with_special = false;
};

struct TemplateOptions {
  std::string model;
  std::string file;
};

struct LogitsOptions {
  std::string name;
  std::vector<int> ids;
  std::string out;
  ModelOptions model;
};

struct BenchOptions {
  std::string name = "demo";
  ModelOptions model;
  int prompt = 512;
  int generate = 64;
  std::vector<int> batch = {1, 4, 16, 32};
  bool json = false;
};

}  // namespace tutti::app
