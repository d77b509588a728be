#include "engine/channel/serve_channel.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "engine/channel/child_process.h"
#include "engine/channel/crash_report.h"
#include "engine/channel/engine_server.h"
#include "engine/channel/step_record.h"

namespace tutti::engine {
namespace {

constexpr auto kBeatInterval = std::chrono::milliseconds(100);
constexpr std::size_t kReadBytes = 256 << 10;

// Ends the process without waiting for its threads, which may hang.
[[noreturn]] void leave(int status) {
  std::fflush(stderr);
  ::_exit(status);
}

// Shows that the process is alive and how its engine gets on, from a thread that does nothing else.
class Heart {
 public:
  explicit Heart(StepRecord& record) {
    record.beat(0);
    thread_ = std::thread([this, &record] {
      std::unique_lock lock(mutex_);
      while (!stopped_.wait_for(lock, kBeatInterval, [this] { return is_stopped_; })) {
        record.beat(engine_ ? engine_->progress() : 0);
      }
    });
  }
  Heart(const Heart&) = delete;
  Heart& operator=(const Heart&) = delete;
  ~Heart() {
    {
      const std::lock_guard lock(mutex_);
      is_stopped_ = true;
    }
    stopped_.notify_one();
    thread_.join();
  }

  // `engine` must outlive it.
  void watch(const EngineChannel& engine) {
    const std::lock_guard lock(mutex_);
    engine_ = &engine;
  }

 private:
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool is_stopped_ = false;                // guarded by mutex_
  const EngineChannel* engine_ = nullptr;  // guarded by mutex_
  std::thread thread_;
};

void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(kChildSocket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) leave(1);  // the front is gone
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void follow_the_front(pid_t front) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (front != 0 && ::getppid() != front) leave(1);  // it ended before the line above
}

// Reads the front until it stops the engine or is gone.
Status serve_front(EngineServer& server) {
  std::string buffer(kReadBytes, '\0');
  while (true) {
    const ssize_t got = ::recv(kChildSocket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {ErrorKind::kUnavailable, "the front is gone"};
    TUTTI_RETURN_IF_ERROR(server.receive({buffer.data(), static_cast<std::size_t>(got)}));
  }
}

}  // namespace

int serve_channel(const ServeChannelOptions& options, const MakeEngine& make) {
  follow_the_front(options.front);
  auto record = SharedStepRecord::open(kChildRecord);
  if (!record.ok()) {
    log::error("not started by tutti serve: {}", record.status().message());
    return 1;
  }
  if (!options.crash_report.empty()) report_crashes(options.crash_report, **record);
  Heart heart(**record);
  EngineServer server(write_all, &**record);
  auto engine = make(server, [&server](double fraction) { server.send_progress(fraction); });
  if (!engine.ok()) {
    server.send_load_failure(engine.status());
    return 1;
  }
  heart.watch((*engine)->channel());
  server.start((*engine)->channel(), (*engine)->hello());
  const Status end = serve_front(server);
  if (end.kind() == ErrorKind::kCorrupt) log::error("the front sent {}", end.message());
  leave(end.kind() == ErrorKind::kCancelled ? 0 : 1);
}

}  // namespace tutti::engine
