#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/json.h"
#include "formats/display.h"

namespace tutti::formats {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference implementation
constexpr std::size_t kMaxDimensions = 16;
constexpr std::string_view kMetadataKey = "__metadata__";

// The types of the format; the names are those of dtype.h.
constexpr DType kDTypes[] = {DType::kF32,  DType::kF16,     DType::kBF16,    DType::kF64,
                             DType::kI8,   DType::kI16,     DType::kI32,     DType::kI64,
                             DType::kU8,   DType::kU16,     DType::kU32,     DType::kU64,
                             DType::kBool, DType::kF8_E4M3, DType::kF8_E5M2, DType::kF8_E8M0};

std::optional<DType> dtype_of(std::string_view name) {
  for (const DType dtype : kDTypes) {
    if (to_string(dtype) == name) return dtype;
  }
  return std::nullopt;
}

// A JSON integer in 0..2^63-1; nullopt for anything else.
std::optional<std::int64_t> natural(const json::value& value) {
  if (const auto* integer = value.if_int64(); integer != nullptr && *integer >= 0) return *integer;
  return std::nullopt;
}

// Bytes that dtype and shape take; nullopt when a product, in any order, is over 2^63-1.
std::optional<std::int64_t> size_of(DType dtype, const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  bool is_empty = false;
  for (const std::int64_t extent : shape) {
    is_empty |= extent == 0;
    if (extent != 0 && __builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  const auto bytes = bytes_for(dtype, product);
  return is_empty && bytes ? 0 : bytes;
}

}  // namespace

class SafetensorsParser {
 public:
  SafetensorsParser(std::span<const std::byte> bytes, SafetensorsFile& file)
      : bytes_(bytes), file_(file) {}

  Status run() { return parse().with_context(file_.name_); }

 private:
  // A tensor's place in the buffer: [begin, end) in bytes.
  struct Entry {
    std::int64_t begin;
    std::int64_t end;
    TensorView tensor;
  };

  Status parse() {
    TUTTI_ASSIGN_OR_RETURN(const std::string_view header, read_header());
    JsonLimits limits;
    limits.max_depth = 4;
    limits.max_bytes = kMaxHeaderBytes;
    const auto root = parse_json(header, limits);
    if (!root.ok()) return corrupt("header: " + root.status().message());
    if (!root->is_object()) return corrupt("the header must be a JSON object");
    std::vector<Entry> entries;
    for (const auto& [name, value] : root->get_object()) {
      if (std::string_view(name) == kMetadataKey) {
        TUTTI_RETURN_IF_ERROR(read_metadata(value));
        continue;
      }
      auto entry = read_entry(name, value);
      if (!entry.ok()) return entry.status().with_context("tensor " + display(name));
      entries.push_back(std::move(*entry));
    }
    return place(entries);
  }

  Result<std::string_view> read_header() {
    std::uint64_t length = 0;
    if (bytes_.size() < sizeof(length)) {
      return corrupt(fmt::format("the file has {} bytes, too few for the length of its header",
                                 bytes_.size()));
    }
    std::memcpy(&length, bytes_.data(), sizeof(length));
    if (length > kMaxHeaderBytes) {
      return corrupt(fmt::format("the header is {} bytes long, more than the limit of {}", length,
                                 kMaxHeaderBytes));
    }
    if (length > bytes_.size() - sizeof(length)) {
      return corrupt(fmt::format("the header is {} bytes long, but only {} bytes follow", length,
                                 bytes_.size() - sizeof(length)));
    }
    buffer_ = bytes_.subspan(sizeof(length) + length);
    return std::string_view(reinterpret_cast<const char*>(bytes_.data()) + sizeof(length), length);
  }

  Status read_metadata(const json::value& value) {
    if (!value.is_object()) return corrupt("__metadata__ must be an object");
    for (const auto& [key, text] : value.get_object()) {
      if (!text.is_string()) {
        return corrupt(fmt::format("__metadata__: \"{}\" must be a string", display(key)));
      }
      file_.metadata_.emplace(std::string_view(key), std::string_view(text.get_string()));
    }
    return Status();
  }

  Result<Entry> read_entry(std::string_view name, const json::value& value) {
    const json::object* fields = value.if_object();
    if (fields == nullptr) return corrupt("must be an object");
    Entry entry = {};
    entry.tensor.name = name;
    TUTTI_RETURN_IF_ERROR(read_dtype(fields->if_contains("dtype"), entry.tensor));
    TUTTI_RETURN_IF_ERROR(read_shape(fields->if_contains("shape"), entry.tensor));
    TUTTI_RETURN_IF_ERROR(read_offsets(fields->if_contains("data_offsets"), entry));
    const auto size = size_of(entry.tensor.dtype, entry.tensor.shape);
    if (size != entry.end - entry.begin) {
      return corrupt(fmt::format("{} of type {} takes {} bytes, but data_offsets span {}",
                                 shape_to_string(entry.tensor.shape), to_string(entry.tensor.dtype),
                                 size ? std::to_string(*size) : "over 2^63-1",
                                 entry.end - entry.begin));
    }
    return entry;
  }

  static Status read_dtype(const json::value* value, TensorView& tensor) {
    if (value == nullptr || !value->is_string()) return corrupt("dtype must be a string");
    const auto dtype = dtype_of(value->get_string());
    if (!dtype) {
      return unsupported(
          fmt::format("has type {}, which is not supported", display(value->get_string())));
    }
    tensor.dtype = *dtype;
    return Status();
  }

  static Status read_shape(const json::value* value, TensorView& tensor) {
    if (value == nullptr || !value->is_array()) return corrupt("shape must be an array");
    const json::array& extents = value->get_array();
    if (extents.size() > kMaxDimensions) {
      return corrupt(fmt::format("has {} dimensions, more than the limit of {}", extents.size(),
                                 kMaxDimensions));
    }
    for (const json::value& extent : extents) {
      const auto number = natural(extent);
      if (!number) return corrupt("shape must hold integers in 0..2^63-1");
      tensor.shape.push_back(*number);
    }
    return Status();
  }

  Status read_offsets(const json::value* value, Entry& entry) const {
    const json::array* offsets = value == nullptr ? nullptr : value->if_array();
    if (offsets == nullptr || offsets->size() != 2 || !natural((*offsets)[0]) ||
        !natural((*offsets)[1])) {
      return corrupt("data_offsets must be two integers in 0..2^63-1");
    }
    entry.begin = *natural((*offsets)[0]);
    entry.end = *natural((*offsets)[1]);
    if (entry.begin > entry.end || static_cast<std::uint64_t>(entry.end) > buffer_.size()) {
      return corrupt(fmt::format(
          "data_offsets are [{}, {}], must be in order and within the {} bytes of the buffer",
          entry.begin, entry.end, buffer_.size()));
    }
    entry.tensor.bytes = buffer_.subspan(static_cast<std::size_t>(entry.begin),
                                         static_cast<std::size_t>(entry.end - entry.begin));
    return Status();
  }

  // Checks that the tensors cover the buffer, and hands them over in its order.
  Status place(std::vector<Entry>& entries) {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::int64_t covered = 0;
    for (Entry& entry : entries) {
      if (entry.begin != covered) {
        return corrupt(fmt::format("tensor {} begins at byte {} of the buffer, must be {} (no {})",
                                   display(entry.tensor.name), entry.begin, covered,
                                   entry.begin > covered ? "holes" : "overlaps"));
      }
      covered = entry.end;
      file_.tensors_.push_back(std::move(entry.tensor));
    }
    if (static_cast<std::uint64_t>(covered) != buffer_.size()) {
      return corrupt(fmt::format("the tensors end at byte {} of the buffer, which has {} bytes",
                                 covered, buffer_.size()));
    }
    for (std::size_t i = 0; i < file_.tensors_.size(); ++i) {
      file_.index_.emplace(file_.tensors_[i].name, i);
    }
    return Status();
  }

  std::span<const std::byte> bytes_;
  std::span<const std::byte> buffer_;
  SafetensorsFile& file_;
};

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  SafetensorsFile file;
  file.name_ = std::move(name);
  TUTTI_RETURN_IF_ERROR(SafetensorsParser(bytes, file).run());
  return file;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  TUTTI_ASSIGN_OR_RETURN(SafetensorsFile file, parse(mapped.bytes(), path.string()));
  file.file_ = std::move(mapped);
  return file;
}

const TensorView* SafetensorsFile::find_tensor(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace tutti::formats
