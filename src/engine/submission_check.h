// What a sequence must be to be accepted: the same check at both ends of the channel.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "core/request.h"
#include "engine/engine.h"

namespace tutti::engine {

struct EngineLimits {
  int max_model_len = 0;
  int vocab_size = 0;
};

// Errors: kInvalidArgument, naming the field, for a prompt that is empty or longer than the context
// (with both counts), for more tokens than the context has positions, and for tokens that the
// vocabulary lacks; kDeadlineExceeded for a deadline that has passed.
Status check_submission(const SequenceRequest& request, const EngineLimits& limits, TimePoint now);

// How many of `num_open` sequences wait for more than the next step: as long as nothing waits in
// the engine, newcomers run as far as the batch has places.
int num_queued(int num_open, int num_running, bool engine_has_queue, int max_running);

// kOverloaded, with the seconds until there is likely to be a place.
Status queue_is_full(int num_waiting, const EngineStats& stats);

}  // namespace tutti::engine
