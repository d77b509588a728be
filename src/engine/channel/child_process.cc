#include "engine/channel/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace tutti::engine {
namespace {

// Above every number that a child's descriptor gets.
constexpr int kFirstOwnDescriptor = 16;

Status system_error(const char* what, int code) {
  return {ErrorKind::kInternal,
          fmt::format("the engine process cannot be started: {}: {}", what, std::strerror(code))};
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

// posix_spawn's two argument objects.
class SpawnPlan {
 public:
  SpawnPlan(int socket, int record) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_adddup2(&actions_, socket, kChildSocket);
    ::posix_spawn_file_actions_adddup2(&actions_, record, kChildRecord);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, kChildRecord + 1);
    ::posix_spawnattr_init(&attributes_);
    sigset_t signals;
    sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes_, &signals);
    sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes_, &signals);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  int spawn(const std::vector<std::string>& arguments, pid_t& pid) const {
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    return ::posix_spawn(&pid, "/proc/self/exe", &actions_, &attributes_, argv.data(), environ);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& arguments, int record) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return system_error("socketpair", errno);
  }
  Descriptor ours(pair[0]);
  const Descriptor theirs(pair[1]);
  const Descriptor theirs_moved(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, kFirstOwnDescriptor));
  const Descriptor record_moved(::fcntl(record, F_DUPFD_CLOEXEC, kFirstOwnDescriptor));
  if (theirs_moved.get() < 0 || record_moved.get() < 0) return system_error("fcntl", errno);
  if (::fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) return system_error("fcntl", errno);
  pid_t pid = -1;
  const int code = SpawnPlan(theirs_moved.get(), record_moved.get()).spawn(arguments, pid);
  if (code != 0) return system_error("posix_spawn", code);
  return ChildProcess(pid, ours.release());
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::exchange(other.socket_, -1)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(socket_, other.socket_);
  return *this;
}

ChildProcess::~ChildProcess() {
  reap();
  if (socket_ >= 0) ::close(socket_);
}

void ChildProcess::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void ChildProcess::abort_thread(std::int32_t thread) {
  if (pid_ <= 0) return;
  // A thread of another process, or none, is refused by the system.
  if (thread > 0 && ::syscall(SYS_tgkill, pid_, thread, SIGABRT) == 0) return;
  ::kill(pid_, SIGABRT);
}

ProcessEnd ChildProcess::reap() {
  if (pid_ <= 0) return {};
  kill();  // without effect on what has ended by itself
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFSIGNALED(status)) return {.by_signal = true, .code = WTERMSIG(status)};
  return {.by_signal = false, .code = WEXITSTATUS(status)};
}

}  // namespace tutti::engine
