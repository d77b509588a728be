// What a service manager such as systemd tells a service and wants to be told: listening sockets
// (sd_listen_fds), the notification socket (sd_notify), the watchdog. Source: the manual pages of
// those functions; a few lines each, so no library is needed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace tutti::server {

// Thread safety: constant after construction.
class ServiceManager {
 public:
  ServiceManager() = default;  // none: notifications go nowhere
  explicit ServiceManager(std::string notify_socket, std::chrono::microseconds watchdog = {})
      : notify_socket_(std::move(notify_socket)), watchdog_(watchdog) {}

  // From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which are removed from the environment so
  // that children do not speak for us. Call it before there are threads.
  static ServiceManager from_environment();

  // "READY=1", several of them by line feeds. False when there is nobody to tell.
  bool notify(const std::string& state) const;
  // "RELOADING=1" with the time that systemd wants beside it.
  bool notify_reloading() const;

  // Within which "WATCHDOG=1" must come again and again; zero: not wanted.
  std::chrono::microseconds watchdog() const { return watchdog_; }

 private:
  std::string notify_socket_;  // a path, or an abstract name with '@' before it
  std::chrono::microseconds watchdog_{0};
};

// The sockets of LISTEN_FDS, when LISTEN_PID is this process; the variables are removed.
std::vector<int> inherited_sockets();

}  // namespace tutti::server
