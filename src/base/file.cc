#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace tutti {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Opens a regular file for reading and tells its size.
Result<std::size_t> size_of_regular(int fd, const std::filesystem::path& path) {
  if (fd < 0) {
    const int error = errno;
    const ErrorKind kind = error == ENOENT ? ErrorKind::kNotFound : ErrorKind::kInvalidArgument;
    return Status(kind, fmt::format("{}: {}", path.string(), std::strerror(error)));
  }
  struct stat info = {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return Status(ErrorKind::kInvalidArgument,
                  fmt::format("{}: not a regular file", path.string()));
  }
  return static_cast<std::size_t>(info.st_size);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  TUTTI_ASSIGN_OR_RETURN(const std::size_t size, size_of_regular(fd.get(), path));
  MappedFile file;
  file.path_ = path;
  if (size == 0) return file;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    return Status(
        ErrorKind::kInvalidArgument,
        fmt::format("{}: cannot map {} bytes: {}", path.string(), size, std::strerror(errno)));
  }
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release_pages(std::size_t offset, std::size_t length) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = (offset + page - 1) / page * page;
  const std::size_t end = std::min(offset + length, size_) / page * page;
  if (data_ == nullptr || begin >= end) return;
  // Only advice: a failure costs memory, not correctness.
  (void)::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  TUTTI_ASSIGN_OR_RETURN(const std::size_t size, size_of_regular(fd.get(), path));
  if (size > max_bytes) {
    return Status(ErrorKind::kTooLarge, fmt::format("{}: {} bytes are over the limit of {} bytes",
                                                    path.string(), size, max_bytes));
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd.get(), text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Status(ErrorKind::kInvalidArgument,
                    fmt::format("{}: {}", path.string(), std::strerror(errno)));
    }
    if (got == 0) break;  // it shrank while being read
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace tutti
