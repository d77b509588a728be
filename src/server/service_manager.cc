#include "server/service_manager.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace tutti::server {
namespace {

constexpr int kFirstInherited = 3;
constexpr int kMaxInherited = 64;

std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value ? value : "";
  unsetenv(name);
  return text;
}

long long as_number(const std::string& text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace

ServiceManager ServiceManager::from_environment() {
  const std::string socket = take_variable("NOTIFY_SOCKET");
  const std::string interval = take_variable("WATCHDOG_USEC");
  const std::string process = take_variable("WATCHDOG_PID");
  const bool is_ours = process.empty() || as_number(process) == getpid();
  return ServiceManager(socket, std::chrono::microseconds(is_ours ? as_number(interval) : 0));
}

bool ServiceManager::notify(const std::string& state) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (notify_socket_.empty() || notify_socket_.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, notify_socket_.data(), notify_socket_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notify_socket_.size());
  const ssize_t sent = sendto(socket, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&address), size);
  ::close(socket);
  return sent == static_cast<ssize_t>(state.size());
}

bool ServiceManager::notify_reloading() const {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return notify(
      fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1'000'000LL + now.tv_nsec / 1000));
}

std::vector<int> inherited_sockets() {
  const std::string process = take_variable("LISTEN_PID");
  const std::string count = take_variable("LISTEN_FDS");
  take_variable("LISTEN_FDNAMES");
  std::vector<int> sockets;
  if (as_number(process) != getpid()) return sockets;
  const long long number = std::min<long long>(as_number(count), kMaxInherited);
  for (int i = 0; i < number; ++i) {
    fcntl(kFirstInherited + i, F_SETFD, FD_CLOEXEC);
    sockets.push_back(kFirstInherited + i);
  }
  return sockets;
}

}  // namespace tutti::server
