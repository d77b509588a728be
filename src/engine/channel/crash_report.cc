#include "engine/channel/crash_report.h"

#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <string_view>
#include <vector>

namespace tutti::engine {
namespace {

constexpr int kMaxFrames = 64;
constexpr std::size_t kStackBytes = 64 << 10;

// A handler has no arguments of ours, so what it reads is of static duration.
char report_path[PATH_MAX];
const StepRecord* step_record = nullptr;
std::atomic<bool> is_reporting{false};

// Writes with system calls only: anything else may be broken, or locked by the thread that died.
class SignalSafeWriter {
 public:
  explicit SignalSafeWriter(int file) : file_(file) {}

  void text(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t written = ::write(file_, text.data(), text.size());
      if (written <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  void number(std::uint64_t value, unsigned base = 10) const {
    char digits[24];
    char* begin = digits + sizeof digits;
    do {
      *--begin = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    text({begin, static_cast<std::size_t>(digits + sizeof digits - begin)});
  }

 private:
  const int file_;
};

std::string_view name_of(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    case SIGABRT:
      return "SIGABRT";
    default:
      return "a signal";
  }
}

void write_report(int file, int signal, const siginfo_t& info) {
  const SignalSafeWriter out(file);
  out.text(name_of(signal));
  out.text(" in thread ");
  out.number(static_cast<std::uint64_t>(::syscall(SYS_gettid)));
  out.text(", address 0x");
  out.number(reinterpret_cast<std::uintptr_t>(info.si_addr), 16);
  out.text("\nsteps done: ");
  out.number(step_record->num_steps());
  if (step_record->in_step()) {
    out.text("\nin a step of ");
    out.number(static_cast<std::uint64_t>(step_record->num_rows()));
    out.text(" rows of the sequences");
    step_record->visit_sequences([&out](std::uint64_t id) {
      out.text(" ");
      out.number(id);
    });
  }
  out.text("\n\nstack:\n");
  void* frames[kMaxFrames];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, kMaxFrames), file);
}

void on_signal(int signal, siginfo_t* info, void*) {
  if (!is_reporting.exchange(true)) {
    const int file = ::open(report_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file >= 0) {
      write_report(file, signal, *info);
      ::close(file);
    }
  }
  // The handler was installed for one time: the signal now does what it does by default.
  ::raise(signal);
}

}  // namespace

void report_crashes(const std::filesystem::path& path, const StepRecord& record) {
  std::strncpy(report_path, path.c_str(), sizeof report_path - 1);
  step_record = &record;
  // The first call loads a library, which a handler must not.
  void* frame = nullptr;
  ::backtrace(&frame, 1);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    ::sigaction(signal, &action, nullptr);
  }
}

void prepare_thread_for_crashes() {
  thread_local std::vector<char> memory;
  memory.resize(kStackBytes);
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  ::sigaltstack(&stack, nullptr);
}

}  // namespace tutti::engine
