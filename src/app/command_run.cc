// `tutti run`: a conversation in the terminal, or one answer for a script.
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "server/choice_stream.h"
#include "server/event_inbox.h"
#include "server/prompt_builder.h"
#include "server/random.h"
#include "server/sampling_defaults.h"
#include "store/loaded_model.h"

namespace tutti::app {
namespace {

constexpr std::size_t kMaxPipedBytes = std::size_t{64} << 20;

// Written by the engine's thread and by the signal handler, read by the main thread.
volatile std::sig_atomic_t interrupted = 0;
int wake_fd = -1;

void wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_fd, &one, sizeof one);
}

void on_interrupt(int) {
  const int saved = errno;
  interrupted = 1;
  wake();
  errno = saved;
}

Status prepare_signals() {
  wake_fd = ::eventfd(0, EFD_CLOEXEC);
  if (wake_fd < 0) return Status(ErrorKind::kInternal, "eventfd failed");
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a waiting read() returns
  ::sigaction(SIGINT, &action, nullptr);
  return {};
}

// A line of standard input without its end. nullopt at the end of input; an empty string after
// Ctrl-C.
std::optional<std::string> read_line() {
  std::string line;
  for (;;) {
    char c = 0;
    const ssize_t got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR) return std::string();
    if (got <= 0) return line.empty() ? std::nullopt : std::optional(line);
    if (c == '\n') return line;
    line += c;
  }
}

class Chat {
 public:
  Chat(store::LoadedModel& model, const RunOptions& options) : model_(model), options_(options) {
    if (!options.system.empty()) add("system", options.system);
  }

  // Prints the answer as it comes; it becomes part of the conversation, also when it was stopped. A
  // question that failed does not.
  Status ask(const std::string& text) {
    add("user", text);
    std::string answer;
    Status status = print_answer(answer);
    if (status.ok()) {
      add("assistant", answer);
    } else {
      prompt_.messages.pop_back();
    }
    return status;
  }

 private:
  void add(const char* role, const std::string& content) {
    prompt_.messages.push_back(boost::json::object{{"role", role}, {"content", content}});
  }

  Status print_answer(std::string& answer) {
    const int room = model_.facts.plan.max_model_len;
    TUTTI_ASSIGN_OR_RETURN(const server::BuiltPrompt prompt,
                           server::build_prompt(prompt_, model_, true, room - 1));
    const int num_tokens = static_cast<int>(prompt.tokens.size());
    if (num_tokens >= room) {
      return invalid_argument("prompt", fmt::format("the conversation has {} tokens, the context "
                                                    "is {}",
                                                    num_tokens, room));
    }
    const Request settings = make_settings(room - num_tokens);
    SequenceRequest request;
    request.id = SequenceId(next_id_++);
    request.prompt = prompt.tokens;
    request.sampling = settings.sampling;
    request.end_tokens = model_.end_tokens;
    server::ChoiceStream::Options choice;
    choice.stop = settings.stop;
    return stream(std::move(request), std::move(choice), answer);
  }

  // The model's own defaults under what the command line says: sampling and stop strings.
  Request make_settings(int room) const {
    Request request;
    if (options_.temperature >= 0) {
      request.sampling.temperature = options_.temperature;
      request.given.temperature = true;
    }
    request.sampling.max_tokens = options_.max_tokens > 0 ? options_.max_tokens : room;
    request.given.max_tokens = options_.max_tokens > 0;
    request.given.seed = options_.seed >= 0;
    request.sampling.seed =
        request.given.seed ? static_cast<std::uint64_t>(options_.seed) : server::random_bits();
    server::apply_defaults(server::DefaultsFrom::kGenerationConfig, model_, request);
    request.sampling.max_tokens = std::min(request.sampling.max_tokens, room);
    return request;
  }

  Status stream(SequenceRequest request, server::ChoiceStream::Options options,
                std::string& answer) {
    const SequenceId id = request.id;
    auto inbox = std::make_shared<server::EventInbox>(wake);
    EventSink sink(server::make_receiver(inbox, 0));
    TUTTI_RETURN_IF_ERROR(model_.engine->submit(std::move(request), sink));
    server::ChoiceStream choice(*model_.tokenizer, std::move(options));
    interrupted = 0;
    bool cancelled = false;
    for (;;) {
      std::uint64_t count = 0;
      (void)!::read(wake_fd, &count, sizeof count);
      if (interrupted && !cancelled) {
        model_.engine->cancel(id);
        cancelled = true;
      }
      for (server::InboxItem& item : inbox->take()) {
        if (auto* token = std::get_if<TokenEvent>(&item.event)) {
          show(choice.push(*token).text, answer);
          if (!choice.finished()) continue;
          model_.engine->cancel(id);  // at a stop string
          inbox->close();
          return {};
        }
        if (auto* end = std::get_if<FinishedEvent>(&item.event)) {
          show(choice.finish(end->reason, end->stop_token, false).text, answer);
          return {};
        }
        show(choice.finish(FinishReason::kStop, -1, false).text, answer);
        return cancelled ? Status() : std::get<FailedEvent>(item.event).status;
      }
    }
  }

  static void show(const std::string& text, std::string& answer) {
    answer += text;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  store::LoadedModel& model_;
  const RunOptions& options_;
  ChatPrompt prompt_;
  std::uint64_t next_id_ = 1;
};

// The prompt of a single answer: what was piped in, then what the command line says.
Result<std::string> single_prompt(const RunOptions& options, bool on_terminal) {
  std::string words;
  for (const std::string& word : options.prompt) words += (words.empty() ? "" : " ") + word;
  if (on_terminal) return words;
  TUTTI_ASSIGN_OR_RETURN(std::string piped, read_standard_input(kMaxPipedBytes));
  while (!piped.empty() && (piped.back() == '\n' || piped.back() == '\r')) piped.pop_back();
  if (piped.empty()) return words;
  return words.empty() ? piped : piped + "\n\n" + words;
}

int converse(Chat& chat) {
  fmt::print("Ctrl-C stops an answer, Ctrl-D ends.\n");
  for (;;) {
    fmt::print(">>> ");
    std::fflush(stdout);
    const auto line = read_line();
    if (!line) break;
    if (line->find_first_not_of(" \t\r") == std::string::npos) {
      if (interrupted) fmt::print("\n");
      interrupted = 0;
      continue;
    }
    const Status status = chat.ask(*line);
    fmt::print("\n");
    if (!status.ok()) report(status);
  }
  fmt::print("\n");
  return 0;
}

}  // namespace

int run_chat(const RunOptions& options) {
  const bool on_terminal = ::isatty(STDIN_FILENO) == 1;
  auto prompt = single_prompt(options, on_terminal);
  if (!prompt.ok()) return report(prompt.status());
  if (!on_terminal && prompt->empty()) {
    return report(invalid_argument("prompt", "no prompt: standard input is empty"));
  }
  auto load = make_load_options(options.name, options.model);
  if (!load.ok()) return report(load.status());
  auto model = load_with_progress(*load);
  if (!model.ok()) return report(model.status());
  if (const Status status = prepare_signals(); !status.ok()) return report(status);

  Chat chat(**model, options);
  if (prompt->empty()) return converse(chat);
  const Status status = chat.ask(*prompt);
  fmt::print("\n");
  return status.ok() ? 0 : report(status);
}

}  // namespace tutti::app
