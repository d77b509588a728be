#include "cache/spill_storage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace tutti::cache {
namespace {

namespace fs = std::filesystem;

Status system_error(const std::string& what) {
  return {ErrorKind::kUnavailable, fmt::format("{}: {}", what, std::strerror(errno))};
}

class SpillFileStorage final : public SpillStorage {
 public:
  SpillFileStorage(fs::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  SpillFileStorage(const SpillFileStorage&) = delete;
  SpillFileStorage& operator=(const SpillFileStorage&) = delete;
  ~SpillFileStorage() override { ::close(descriptor_); }

  Result<std::size_t> size() const override {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return system_error(path_.string());
    return static_cast<std::size_t>(status.st_size);
  }

  Status resize(std::size_t size) override {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
      return system_error(path_.string());
    }
    return {};
  }

  Status read(std::size_t offset, std::span<std::byte> bytes) const override {
    while (!bytes.empty()) {
      const ssize_t got =
          ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error(path_.string());
      if (got == 0) return corrupt(path_.string() + " ends early");
      bytes = bytes.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::size_t>(got);
    }
    return {};
  }

  Status write(std::size_t offset, std::span<const std::byte> bytes) override {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return system_error(path_.string());
    if (status.st_nlink == 0) {
      return {ErrorKind::kUnavailable, path_.string() + " was removed"};
    }
    while (!bytes.empty()) {
      const ssize_t written =
          ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return system_error(path_.string());
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      offset += static_cast<std::size_t>(written);
    }
    return {};
  }

 private:
  const fs::path path_;
  const int descriptor_;
};

// Nobody but the owner, or root, can put another file in the place of ours.
Status check_folder(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) return system_error(folder.string());
  if (!S_ISDIR(status.st_mode)) {
    return invalid_argument("kv_spill_dir", folder.string() + " is no folder");
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return invalid_argument("kv_spill_dir", folder.string() + " belongs to another user");
  }
  const bool is_open = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (is_open && (status.st_mode & S_ISVTX) == 0) {
    return invalid_argument("kv_spill_dir", folder.string() + " can be written by other users");
  }
  return {};
}

Status check_file(const fs::path& path, int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return system_error(path.string());
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid()) {
    return invalid_argument("kv_spill_dir", path.string() + " is no file of this user");
  }
  if ((status.st_mode & 0777) != 0600 && ::fchmod(descriptor, 0600) != 0) {
    return system_error(path.string());
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error(path.string());
    return {ErrorKind::kUnavailable, "another engine has " + path.string()};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<SpillStorage>> open_spill_storage(const fs::path& path) {
  const fs::path folder = path.parent_path();
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return system_error(folder.string());
  TUTTI_RETURN_IF_ERROR(check_folder(folder));
  // Without waiting for the other end of what is no file.
  const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const int descriptor = ::open(path.c_str(), flags, 0600);
  if (descriptor < 0) return system_error(path.string());
  // A limit on the size of files is to be an error, not the end of the process.
  static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));
  auto storage = std::make_unique<SpillFileStorage>(path, descriptor);
  TUTTI_RETURN_IF_ERROR(check_file(path, descriptor));
  return std::unique_ptr<SpillStorage>(std::move(storage));
}

bool is_in_memory(const fs::path& folder) {
  std::error_code error;
  fs::path there = fs::absolute(folder, error);
  while (!fs::exists(there, error) && there.has_relative_path()) there = there.parent_path();
  struct statfs status {};
  if (::statfs(there.c_str(), &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

}  // namespace tutti::cache
