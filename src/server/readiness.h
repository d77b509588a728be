// Whether requests are answered: all models are loaded, those that have work get on with it, and
// those that have none generated a token in the last seconds or do so when asked.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "server/model_registry.h"
#include "server/progress_monitor.h"
#include "server/signal.h"

namespace tutti::server {

// Thread safety: the I/O thread only.
class Readiness {
 public:
  Readiness(boost::asio::io_context& io, const ModelRegistry& registry,
            std::shared_ptr<WakeQueue> wakes)
      : io_(io), registry_(registry), wakes_(std::move(wakes)) {}

  // Ok, or kUnavailable with the reason. A probe is one sequence of one token for each idle model;
  // its result serves everybody who asks within the next seconds, and callers share one that runs.
  boost::asio::awaitable<Status> check();

  // Watches over the engines for as long as the server runs.
  boost::asio::awaitable<void> watch();
  // A model has work and does not get on with it.
  bool is_stalled() const;

 private:
  boost::asio::awaitable<Status> probe_all(std::vector<ServedModel> models);
  boost::asio::awaitable<Status> probe(const store::LoadedModel& model);

  bool is_stalled(const store::LoadedModel& model) const;

  boost::asio::io_context& io_;
  const ModelRegistry& registry_;
  std::shared_ptr<WakeQueue> wakes_;
  std::map<const store::LoadedModel*, ProgressMonitor> monitors_;
  TimePoint probed_{};
  Status result_;
  bool probing_ = false;
  std::vector<std::shared_ptr<Signal>> waiting_;
};

}  // namespace tutti::server
