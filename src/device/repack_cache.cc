#include "device/repack_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "base/log.h"

namespace tutti::device {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kTextBytes = 3584;
constexpr char kMagic[8] = {'T', 'U', 'T', 'T', 'I', 'R', 'P', '1'};

// The page before the panels of a record; that before all records has the origin as its name and no
// panels.
struct PageHead {
  char magic[8];
  std::uint64_t size;             // of the panels
  std::uint64_t panels_checksum;  // of the panels
  std::uint64_t name_bytes;
  char name[kTextBytes];
  std::uint64_t head_checksum;  // of all that stands before it
};
static_assert(sizeof(PageHead) <= kPage);

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::uint64_t checksum_of_head(const PageHead& head) {
  return checksum_of(std::as_bytes(std::span(&head, 1)).first(offsetof(PageHead, head_checksum)));
}

PageHead make_head(const std::string& name, std::size_t size, std::uint64_t checksum) {
  PageHead head{};
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  head.size = size;
  head.panels_checksum = checksum;
  head.name_bytes = name.size();
  std::memcpy(head.name, name.data(), name.size());
  head.head_checksum = checksum_of_head(head);
  return head;
}

// Whether a page was read whole and as it was written.
bool read_head(std::span<const std::byte> file, std::size_t offset, PageHead& head) {
  if (offset > file.size() || file.size() - offset < kPage) return false;
  std::memcpy(&head, file.data() + offset, sizeof(head));
  return std::memcmp(head.magic, kMagic, sizeof(kMagic)) == 0 && head.name_bytes <= kTextBytes &&
         head.head_checksum == checksum_of_head(head);
}

bool write_all(int descriptor, std::span<const std::byte> bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::size_t>(written);
  }
  return true;
}

bool write_head(int descriptor, const PageHead& head, std::size_t offset) {
  std::array<std::byte, kPage> page{};
  std::memcpy(page.data(), &head, sizeof(head));
  return write_all(descriptor, page, offset);
}

}  // namespace

RepackCache::RepackCache(std::filesystem::path path, std::string origin)
    : path_(std::move(path)), origin_(std::move(origin)) {
  if (origin_.size() > kTextBytes) return;
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    log::warn("{}: the repack cache cannot be written ({})", path_.string(), std::strerror(errno));
  } else if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    // Another process is loading the same model: it writes, this one only reads.
    ::close(descriptor_);
    descriptor_ = -1;
  }
  read_records();
}

RepackCache::~RepackCache() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RepackCache::read_records() {
  auto opened = MappedFile::open(path_);
  if (!opened.ok()) return;
  mapping_ = std::make_shared<const MappedFile>(std::move(*opened));
  const std::span<const std::byte> file = mapping_->bytes();
  PageHead head;
  if (file.empty()) return begin_anew("");
  if (!read_head(file, 0, head)) return begin_anew("is damaged");
  if (std::string_view(head.name, head.name_bytes) != origin_) {
    return begin_anew("was made from other files");
  }
  file_size_ = kPage;
  while (read_head(file, file_size_, head)) {
    const std::size_t begin = file_size_ + kPage;
    if (head.size > file.size() - begin) break;
    records_[std::string(head.name, head.name_bytes)] = {begin, head.size, head.panels_checksum};
    file_size_ = begin + whole_pages(head.size);
    if (file_size_ > file.size()) break;
  }
  // What was cut off while it was written is written over.
  if (file_size_ < file.size()) return begin_anew("is damaged");
}

// The records are forgotten, and their file is replaced by one that has none.
void RepackCache::begin_anew(const char* why) {
  if (*why != '\0') {
    log::warn("{}: the repack cache {}; it is made again", path_.string(), why);
  }
  records_.clear();
  mapping_.reset();
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(path_.c_str());
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  file_size_ = kPage;
  if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 ||
      !write_head(descriptor_, make_head(origin_, 0, 0), 0)) {
    log::warn("{}: the repack cache cannot be written ({})", path_.string(), std::strerror(errno));
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
}

CachedPanels RepackCache::find(const std::string& name, std::size_t num_bytes) {
  const auto found = records_.find(name);
  if (found == records_.end() || found->second.size != num_bytes) return {};
  const auto bytes = mapping_->bytes().subspan(found->second.offset, num_bytes);
  if (checksum_of(bytes) == found->second.checksum) return {mapping_, bytes};
  begin_anew("is damaged");
  return {};
}

void RepackCache::put(const std::string& name, std::span<const std::byte> panels) {
  if (descriptor_ < 0 || name.size() > kTextBytes) return;
  const std::size_t begin = file_size_ + kPage;
  // The head comes last: a record is whole or not there.
  const bool written =
      write_all(descriptor_, panels, begin) &&
      ::ftruncate(descriptor_, static_cast<off_t>(begin + whole_pages(panels.size()))) == 0 &&
      write_head(descriptor_, make_head(name, panels.size(), checksum_of(panels)), file_size_);
  if (written) {
    file_size_ = begin + whole_pages(panels.size());
    return;
  }
  log::warn("{}: the repack cache cannot be written ({})", path_.string(), std::strerror(errno));
  ::close(descriptor_);
  descriptor_ = -1;
  ::unlink(path_.c_str());
}

}  // namespace tutti::device
