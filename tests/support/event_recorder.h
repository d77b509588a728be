// Keeps what the engine tells about one sequence, and waits for its end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

#include "core/event.h"

namespace tutti::testing {

// Thread safety: every member may be called from any thread.
class EventRecorder final : public EventReceiver {
 public:
  // The first token's index should be `first_index`.
  explicit EventRecorder(int first_index = 0) : first_index_(first_index) {}

  void receive(Event event) override {
    const std::lock_guard lock(mutex_);
    if (const auto* token = std::get_if<TokenEvent>(&event)) {
      has_gap_ |= token->index != first_index_ + static_cast<int>(tokens_.size()) || num_ends_ > 0;
      tokens_.push_back(*token);
    } else {
      ++num_ends_;
      if (auto* finished = std::get_if<FinishedEvent>(&event)) finished_ = *finished;
      if (auto* failed = std::get_if<FailedEvent>(&event)) failed_ = *failed;
    }
    changed_.notify_all();
  }

  // False when no terminal event came in time.
  bool wait_for_end(std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return num_ends_ > 0; });
  }

  bool wait_for_tokens(std::size_t count,
                       std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] {
      return tokens_.size() >= count || num_ends_ > 0;
    }) && tokens_.size() >= count;
  }

  std::vector<TokenEvent> tokens() const {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<TokenId> token_ids() const {
    std::vector<TokenId> ids;
    for (const TokenEvent& token : tokens()) ids.push_back(token.token);
    return ids;
  }
  int num_ends() const {
    const std::lock_guard lock(mutex_);
    return num_ends_;
  }
  // A token came after the end, or its index was not the next one.
  bool has_gap() const {
    const std::lock_guard lock(mutex_);
    return has_gap_;
  }
  std::optional<FinishedEvent> finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }
  std::optional<FailedEvent> failed() const {
    const std::lock_guard lock(mutex_);
    return failed_;
  }

 private:
  const int first_index_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenEvent> tokens_;
  int num_ends_ = 0;
  bool has_gap_ = false;
  std::optional<FinishedEvent> finished_;
  std::optional<FailedEvent> failed_;
};

}  // namespace tutti::testing
