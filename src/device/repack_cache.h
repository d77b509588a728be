// Repacked weights kept in a file beside the model, so that they are mapped and not made again.
//
// The file: a header of 4096 bytes that says what the records were made from, then records, each a
// page with the tensor's name and a checksum, and its panels from the next page on. It only grows:
// a file that does not fit any more is unlinked and begun anew, so that what another process has
// mapped stays as it is.
//
// Thread safety: one thread at a time (the one that loads a model).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace tutti::device {

// Panels in a mapped cache file. They live as long as `file`.
struct CachedPanels {
  std::shared_ptr<const MappedFile> file;
  std::span<const std::byte> bytes;
};

class RepackCache {
 public:
  // `origin` says what the panels depend on: the model's files and the layout. A file with another
  // one, or that is damaged, is reported in the log and replaced. Errors: none; without a file that
  // can be read and written there are no hits, and what is put is dropped.
  RepackCache(std::filesystem::path path, std::string origin);
  RepackCache(const RepackCache&) = delete;
  RepackCache& operator=(const RepackCache&) = delete;
  ~RepackCache();

  // The panels that were put under `name`, if there are `num_bytes` of them and their checksum is
  // right; else no file.
  CachedPanels find(const std::string& name, std::size_t num_bytes);

  // Appends panels.
  void put(const std::string& name, std::span<const std::byte> panels);

 private:
  struct Record {
    std::size_t offset = 0;  // of the panels in the file
    std::size_t size = 0;
    std::uint64_t checksum = 0;
  };
  void read_records();
  void begin_anew(const char* why);

  std::filesystem::path path_;
  std::string origin_;
  int descriptor_ = -1;  // for appending; -1: nothing is written
  std::size_t file_size_ = 0;
  std::shared_ptr<const MappedFile> mapping_;
  std::map<std::string, Record> records_;
};

}  // namespace tutti::device
