// What a sequence must be to be accepted: the same check at both ends of the channel.
#pragma once

#include "base/result.h"
#include "core/request.h"

namespace tutti::engine {

struct EngineLimits {
  int max_model_len = 0;
  int vocab_size = 0;
};

// Errors: kInvalidArgument, naming the field, for a prompt that is empty or longer than the context
// (with both counts), for more tokens than the context has positions, and for tokens that the
// vocabulary lacks.
Status check_submission(const SequenceRequest& request, const EngineLimits& limits);

}  // namespace tutti::engine
