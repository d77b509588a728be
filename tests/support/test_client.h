// For tests: a plain socket that says what it is told to, and reads with a deadline.
#pragma once

#include <fmt/format.h>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>

namespace tutti::server::testing {

class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(); }

  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  // False when the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  void post(const std::string& path, const std::string& body, const std::string& fields = {}) {
    EXPECT_TRUE(
        send(fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n"
                         "{}\r\n{}",
                         path, body.size(), fields, body)));
  }
  void get(const std::string& path, const std::string& method = "GET") {
    EXPECT_TRUE(send(fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n\r\n", method, path)));
  }

  // What has been received up to and including `text`; all of it when the connection ends or the
  // time is over first.
  std::string read_until(const std::string& text, int timeout_ms = 5000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    std::size_t found = received_.find(text);
    while (found == std::string::npos && receive(deadline)) found = received_.find(text);
    const std::size_t end = found == std::string::npos ? received_.size() : found + text.size();
    std::string result = received_.substr(0, end);
    received_.erase(0, end);
    return result;
  }
  std::string read_all(int timeout_ms = 5000) { return read_until("\x01never\x02", timeout_ms); }
  bool ended() const { return ended_; }

  // A response with Content-Length: head and body.
  std::string read_response() {
    std::string head = read_until("\r\n\r\n");
    const std::size_t field = head.find("Content-Length: ");
    if (field == std::string::npos) return head;
    const std::size_t length = std::stoul(head.substr(field + 16));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (received_.size() < length && receive(deadline)) {
    }
    head += received_.substr(0, length);
    received_.erase(0, length);
    return head;
  }

 private:
  bool receive(std::chrono::steady_clock::time_point deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd poller{fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&poller, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[65536];
    const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
    ended_ = got <= 0;
    if (got > 0) received_.append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  int fd_;
  std::string received_;
  bool ended_ = false;
};

}  // namespace tutti::server::testing
