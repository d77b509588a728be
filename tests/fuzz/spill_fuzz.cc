// Spill files. The first byte chooses: the input is a file; or it says how a whole file was cut off
// or damaged in one place. Nothing may crash; a file that anybody wrote gives only what has the
// right checksums, and a damaged one gives no block another content.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "cache/spill_store.h"
#include "tests/support/memory_storage.h"
#include "tests/support/spill_blocks.h"

namespace {

using namespace tutti;
using namespace tutti::cache;
using testing::kSpillBlockBytes;
using testing::SpillBytes;

constexpr int kNumSlots = 5;

SpillLayout layout() {
  return {
      .identity = "a model",
      .block_bytes = kSpillBlockBytes,
      .max_bytes = SpillFile::kHeaderBytes + kNumSlots * SpillFile::slot_bytes(kSpillBlockBytes)};
}

std::unique_ptr<SpillStore> open(const std::shared_ptr<SpillBytes>& bytes) {
  auto store = SpillStore::open(std::make_unique<testing::MemoryStorage>(bytes), layout());
  TUTTI_CHECK(store.ok()) << store.status().message();
  (*store)->check_invariants();
  return std::move(*store);
}

// A file with blocks 0..3 of chain 0.
const std::vector<std::byte>& whole_file() {
  static const std::vector<std::byte> bytes = [] {
    const auto shared = std::make_shared<SpillBytes>();
    const auto store = open(shared);
    for (int number = 0; number < 4; ++number) {
      const bool is_put = store->put(testing::spill_key(0, number), std::chrono::seconds(60),
                                     testing::spill_filler(0, number));
      TUTTI_CHECK(is_put);
    }
    store->flush();
    return shared->bytes;
  }();
  return bytes;
}

// Opens the file, reads all that it has, writes into it, and opens it again.
void use(std::vector<std::byte> file, bool is_ours) {
  const auto bytes = std::make_shared<SpillBytes>();
  bytes->bytes = std::move(file);
  auto listed = SpillFile::open(std::make_unique<testing::MemoryStorage>(bytes), layout());
  TUTTI_CHECK(listed.ok());
  auto entries = listed->entries();
  TUTTI_CHECK(entries.ok());
  auto store = open(bytes);
  for (const SpillFile::Entry& each : *entries) {
    const auto found = store->get(each.key, std::chrono::seconds(60)).bytes;
    if (found.empty() || !is_ours) continue;
    const int number = static_cast<int>(each.key.hash.high) - 1;
    TUTTI_CHECK(each.key == testing::spill_key(0, number)) << "a key that nobody wrote";
    const auto content = testing::spill_content(0, number);
    TUTTI_CHECK(std::equal(found.begin(), found.end(), content.begin(), content.end()))
        << "block " << number << " has another content";
  }
  for (int number = 0; number < 2 * kNumSlots; ++number) {
    store->put(testing::spill_key(1, number), std::chrono::seconds(60),
               testing::spill_filler(1, number));
  }
  const auto last =
      store->get(testing::spill_key(1, 2 * kNumSlots - 1), std::chrono::seconds(60)).bytes;
  TUTTI_CHECK(!last.empty()) << "what was just put is not there";
  store->check_invariants();
  store = nullptr;
  TUTTI_CHECK(bytes->bytes.size() <= layout().max_bytes);
  store = open(bytes);
}

std::size_t number_at(const std::uint8_t* data) {
  std::uint32_t number = 0;
  std::memcpy(&number, data, sizeof number);
  return number;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  if (data[0] % 2 == 0) {
    std::vector<std::byte> file(size - 1);
    if (size > 1) std::memcpy(file.data(), data + 1, size - 1);
    // The header is ours, so that the slots are looked at.
    if (data[0] % 4 == 0 && file.size() >= SpillFile::kHeaderBytes) {
      std::copy_n(whole_file().begin(), SpillFile::kHeaderBytes, file.begin());
    }
    use(std::move(file), false);
    return 0;
  }
  if (size < 6) return 0;
  std::vector<std::byte> file = whole_file();
  const std::size_t at = number_at(data + 1) % file.size();
  if (data[5] == 0) {
    file.resize(at);
  } else {
    // Up to eight bytes are others.
    const std::size_t count = std::min<std::size_t>({size - 5, 8, file.size() - at});
    std::memcpy(file.data() + at, data + 5, count);
  }
  use(std::move(file), true);
  return 0;
}
