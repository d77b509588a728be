#include "engine/channel/crash_files.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/log.h"

namespace tutti::engine {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "engine-";
constexpr const char* kSuffix = ".txt";

std::string summary(const std::string& name, const DeathReport& death) {
  std::string text = fmt::format("tutti {}, model {}\ndied: {}\nsteps done: {}\n", TUTTI_VERSION,
                                 name, death.reason, death.num_steps);
  if (death.sequences.empty()) return text + "no step was running\n";
  text +=
      fmt::format("in a step of {} rows of {} sequences:", death.num_rows, death.sequences.size());
  for (const SequenceId id : death.sequences) text += fmt::format(" {}", id.value);
  return text + "\n";
}

void remove_oldest(const fs::path& folder) {
  std::vector<fs::path> reports;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with(kPrefix) && file.ends_with(kSuffix)) reports.push_back(entry.path());
  }
  std::sort(reports.begin(), reports.end());  // their names begin with the time
  for (std::size_t i = 0; i + CrashFiles::kMaxKept < reports.size(); ++i) {
    fs::remove(reports[i], ignored);
  }
}

}  // namespace

CrashFiles::CrashFiles(fs::path folder) : folder_(std::move(folder)) {
  if (folder_.empty()) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  if (!error) return;
  log::warn("no crash reports: {} cannot be made: {}", folder_.string(), error.message());
  folder_.clear();
}

fs::path CrashFiles::next() {
  if (folder_.empty()) return {};
  return folder_ / fmt::format("{}{:%Y%m%d-%H%M%S}-{}-{}{}", kPrefix,
                               fmt::gmtime(std::time(nullptr)), ::getpid(), ++num_given_, kSuffix);
}

fs::path CrashFiles::complete(const fs::path& path, const std::string& name,
                              const DeathReport& death) {
  if (path.empty()) return {};
  std::stringstream written;
  if (std::ifstream file(path); file) written << file.rdbuf();
  std::ofstream file(path, std::ios::trunc);
  std::error_code ignored;
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write, ignored);
  file << summary(name, death) << "\n" << written.str();
  file.close();
  remove_oldest(folder_);
  return file ? path : fs::path();
}

}  // namespace tutti::engine
