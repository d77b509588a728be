// Ids for sequences.
#pragma once

#include "core/ids.h"

namespace tutti::server {

// Unique in this process, over all engines. Thread safety: any thread.
SequenceId next_sequence_id();

}  // namespace tutti::server
