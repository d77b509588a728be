// A process of ours on the other end of a socket.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "engine/channel/front.h"

namespace tutti::engine {

// The descriptors under which a child finds its socket and its step record.
inline constexpr int kChildSocket = 3;
inline constexpr int kChildRecord = 4;

// Move-only. A child that still runs is killed and reaped by the destructor.
class ChildProcess {
 public:
  // Runs this very program with `arguments` (argv[0] included). Of the files that are open here it
  // inherits the standard ones, `record` and its end of the socket. Must be called on a thread that
  // lives as long as the child: the system kills the child when that thread ends.
  // Errors: kInternal with the system's reason.
  static Result<ChildProcess> start(const std::vector<std::string>& arguments, int record);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  // Non-blocking.
  int socket() const { return socket_; }
  pid_t pid() const { return pid_; }

  void kill();
  // SIGABRT to one of its threads (0: to any).
  void abort_thread(std::int32_t thread);
  // Kills it if it runs, and waits for its end.
  ProcessEnd reap();

 private:
  ChildProcess(pid_t pid, int socket) : pid_(pid), socket_(socket) {}

  pid_t pid_ = -1;  // -1: reaped
  int socket_ = -1;
};

}  // namespace tutti::engine
