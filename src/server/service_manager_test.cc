#include "server/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace tutti::server {
namespace {

// What systemd is to its services: a datagram socket.
class NotifySocket {
 public:
  // A path, or an abstract name with '@' before it.
  explicit NotifySocket(const std::string& name) : fd_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
  }
  ~NotifySocket() { close(fd_); }

  std::string read() {
    char buffer[256];
    const ssize_t size = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    return size > 0 ? std::string(buffer, static_cast<std::size_t>(size)) : "";
  }

 private:
  int fd_;
};

TEST(ServiceManager, IsToldTheState) {
  const std::string path = ::testing::TempDir() + "tutti-notify";
  std::filesystem::remove(path);
  for (const std::string& name : {path, "@tutti-test-" + std::to_string(getpid())}) {
    NotifySocket socket(name);
    const ServiceManager manager(name);
    EXPECT_TRUE(manager.notify("READY=1")) << name;
    EXPECT_EQ(socket.read(), "READY=1");
    EXPECT_TRUE(manager.notify_reloading());
    EXPECT_EQ(socket.read().substr(0, 27), "RELOADING=1\nMONOTONIC_USEC=");
  }
  std::filesystem::remove(path);
}

TEST(ServiceManager, NobodyThereIsNoError) {
  EXPECT_FALSE(ServiceManager().notify("READY=1"));
  EXPECT_FALSE(ServiceManager("/nonexistent/socket").notify("READY=1"));
  EXPECT_FALSE(ServiceManager(std::string(500, 'a')).notify("READY=1"));
}

TEST(ServiceManager, TheEnvironmentIsTakenAway) {
  setenv("NOTIFY_SOCKET", "/run/x", 1);
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(ServiceManager::from_environment().watchdog(), std::chrono::seconds(3));
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr);
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(ServiceManager::from_environment().watchdog().count(), 0) << "meant for another one";
}

TEST(ServiceManager, SocketsAreThisProcesssOrNone) {
  setenv("LISTEN_PID", "1", 1);
  setenv("LISTEN_FDS", "2", 1);
  EXPECT_TRUE(inherited_sockets().empty());
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDS", "2", 1);
  EXPECT_EQ(inherited_sockets(), (std::vector<int>{3, 4}));
  EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr);
  EXPECT_TRUE(inherited_sockets().empty());
}

}  // namespace
}  // namespace tutti::server
