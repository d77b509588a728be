// Reports of engine processes that died, as files: the newest few are kept.
#pragma once

#include <filesystem>
#include <string>

#include "engine/channel/front.h"

namespace tutti::engine {

class CrashFiles {
 public:
  static constexpr std::size_t kMaxKept = 20;

  // Makes the folder if it can; empty: no reports.
  explicit CrashFiles(std::filesystem::path folder);

  // A path for the report of the process that is started next; empty: none.
  std::filesystem::path next();

  // Puts what the front knows of the death before what the process wrote at `path` itself, if it
  // could (its stack), and removes the oldest reports. Empty when there is no report.
  std::filesystem::path complete(const std::filesystem::path& path, const std::string& name,
                                 const DeathReport& death);

 private:
  std::filesystem::path folder_;
  int num_given_ = 0;
};

}  // namespace tutti::engine
