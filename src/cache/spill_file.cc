#include "cache/spill_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"

namespace tutti::cache {
namespace {

constexpr char kFileMagic[8] = {'T', 'U', 'T', 'T', 'I', 'S', 'P', '1'};
constexpr char kSlotMagic[8] = {'S', 'P', 'S', 'L', 'O', 'T', '1', '\n'};
constexpr std::size_t kPage = 4096;

struct Header {
  char magic[8];
  std::uint64_t block_bytes;
  HashKey hash_key;
  std::uint64_t identity_bytes;
  char identity[SpillFile::kMaxIdentityBytes];
  std::uint64_t checksum;  // of all that stands before it
};
static_assert(sizeof(Header) <= SpillFile::kHeaderBytes);

struct SlotHead {
  char magic[8];
  std::uint64_t stamp;
  std::uint64_t num_bytes;
  BlockKey key;
  std::uint64_t bytes_checksum;
  std::uint64_t checksum;  // of all that stands before it
};
static_assert(sizeof(SlotHead) <= SpillFile::kHeadBytes);
static_assert(std::is_trivially_copyable_v<Header> && std::is_trivially_copyable_v<SlotHead>);
// Without padding, whose bytes a checksum would see.
static_assert(sizeof(BlockKey) == 3 * 16 + kBlockSize * sizeof(TokenId));

template <typename Record>
std::uint64_t own_checksum(const Record& record) {
  return checksum_of(std::as_bytes(std::span(&record, 1)).first(offsetof(Record, checksum)));
}

bool is_whole(const SlotHead& head, std::size_t block_bytes) {
  return std::memcmp(head.magic, kSlotMagic, sizeof kSlotMagic) == 0 &&
         head.num_bytes == block_bytes && head.checksum == own_checksum(head);
}

// Why the header is not of this layout; nullptr when it is.
const char* difference(const Header& header, const SpillLayout& layout) {
  if (std::memcmp(header.magic, kFileMagic, sizeof kFileMagic) != 0) return "has another format";
  if (header.checksum != own_checksum(header)) return "is damaged";
  const bool is_same =
      header.block_bytes == layout.block_bytes && header.identity_bytes == layout.identity.size() &&
      std::memcmp(header.identity, layout.identity.data(), layout.identity.size()) == 0;
  return is_same ? nullptr : "was made with another model or other settings";
}

}  // namespace

std::size_t SpillFile::slot_bytes(std::size_t block_bytes) {
  return (kHeadBytes + block_bytes + kPage - 1) / kPage * kPage;
}

SpillFile::SpillFile(std::unique_ptr<SpillStorage> storage, SpillLayout layout)
    : storage_(std::move(storage)), layout_(std::move(layout)) {}

Result<SpillFile> SpillFile::open(std::unique_ptr<SpillStorage> storage, SpillLayout layout) {
  TUTTI_CHECK(layout.block_bytes >= 1 &&
              layout.block_bytes <= std::numeric_limits<std::size_t>::max() / 2);
  if (layout.identity.size() > kMaxIdentityBytes) {
    return invalid_argument("kv_spill_dir", "the model's identity is too long");
  }
  const std::size_t least = kHeaderBytes + slot_bytes(layout.block_bytes);
  if (layout.max_bytes < least) {
    return invalid_argument("kv_spill_size",
                            fmt::format("--kv-spill-size must be at least {}, for one block, and "
                                        "is {}",
                                        least, layout.max_bytes));
  }
  SpillFile file(std::move(storage), std::move(layout));
  const std::size_t max_slots = (file.layout_.max_bytes - kHeaderBytes) / file.slot_bytes();
  file.num_slots_ =
      static_cast<int>(std::min<std::size_t>(max_slots, std::numeric_limits<int>::max() / 2));
  TUTTI_ASSIGN_OR_RETURN(const std::size_t size, file.storage_->size());
  if (size < kHeaderBytes) {
    TUTTI_RETURN_IF_ERROR(file.begin_anew());
    return file;
  }
  Header header{};
  TUTTI_RETURN_IF_ERROR(file.storage_->read(0, std::as_writable_bytes(std::span(&header, 1))));
  if (const char* why = difference(header, file.layout_)) {
    file.why_emptied_ = why;
    TUTTI_RETURN_IF_ERROR(file.begin_anew());
    return file;
  }
  file.hash_key_ = header.hash_key;
  const std::size_t end = file.offset_of(file.num_slots_);
  if (size > end) TUTTI_RETURN_IF_ERROR(file.storage_->resize(end));
  return file;
}

Status SpillFile::begin_anew() {
  hash_key_ = HashKey::random();
  Header header{};
  std::memcpy(header.magic, kFileMagic, sizeof kFileMagic);
  header.block_bytes = layout_.block_bytes;
  header.hash_key = hash_key_;
  header.identity_bytes = layout_.identity.size();
  std::memcpy(header.identity, layout_.identity.data(), layout_.identity.size());
  header.checksum = own_checksum(header);
  TUTTI_RETURN_IF_ERROR(storage_->resize(0));
  TUTTI_RETURN_IF_ERROR(storage_->write(0, std::as_bytes(std::span(&header, 1))));
  return storage_->resize(kHeaderBytes);
}

std::size_t SpillFile::offset_of(int slot) const {
  return kHeaderBytes + static_cast<std::size_t>(slot) * slot_bytes();
}

Result<std::vector<SpillFile::Entry>> SpillFile::entries() const {
  TUTTI_ASSIGN_OR_RETURN(const std::size_t size, storage_->size());
  std::vector<Entry> entries;
  for (int slot = 0; slot < num_slots_; ++slot) {
    if (offset_of(slot) + kHeadBytes + layout_.block_bytes > size) break;
    SlotHead head{};
    TUTTI_RETURN_IF_ERROR(
        storage_->read(offset_of(slot), std::as_writable_bytes(std::span(&head, 1))));
    if (is_whole(head, layout_.block_bytes)) entries.push_back({slot, head.stamp, head.key});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.stamp < b.stamp; });
  return entries;
}

Status SpillFile::write(const Entry& entry, std::span<std::byte> record) {
  TUTTI_CHECK(entry.slot >= 0 && entry.slot < num_slots_ && record.size() == slot_bytes());
  SlotHead head{};
  std::memcpy(head.magic, kSlotMagic, sizeof kSlotMagic);
  head.stamp = entry.stamp;
  head.num_bytes = layout_.block_bytes;
  head.key = entry.key;
  head.bytes_checksum = checksum_of(record.subspan(kHeadBytes, layout_.block_bytes));
  head.checksum = own_checksum(head);
  std::fill_n(record.begin(), kHeadBytes, std::byte{0});
  std::memcpy(record.data(), &head, sizeof head);
  return storage_->write(offset_of(entry.slot), record);
}

Status SpillFile::read(int slot, const BlockKey& key, std::span<std::byte> record) const {
  TUTTI_CHECK(slot >= 0 && slot < num_slots_ && record.size() == slot_bytes());
  const auto used = record.first(kHeadBytes + layout_.block_bytes);
  TUTTI_RETURN_IF_ERROR(storage_->read(offset_of(slot), used));
  SlotHead head{};
  std::memcpy(&head, used.data(), sizeof head);
  if (!is_whole(head, layout_.block_bytes) || !(head.key == key) ||
      head.bytes_checksum != checksum_of(used.subspan(kHeadBytes))) {
    return corrupt(fmt::format("slot {} of the spill file is damaged", slot));
  }
  return {};
}

}  // namespace tutti::cache
