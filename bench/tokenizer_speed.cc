// Encodes one file with one tokenizer.json and prints the best time of several runs, as JSON.
// Used by bench/tokenizer_speed.py. Usage: tokenizer_speed TOKENIZER_JSON TEXT_FILE RUNS
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "base/clock.h"
#include "base/file.h"
#include "formats/tokenizer_json.h"
#include "text/tokenizer.h"

namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 30;

int fail(const tutti::Status& status) {
  std::fprintf(stderr, "tokenizer_speed: %s\n", status.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: tokenizer_speed TOKENIZER_JSON TEXT_FILE RUNS\n");
    return 2;
  }
  const auto json = tutti::read_file(argv[1], kMaxBytes);
  if (!json.ok()) return fail(json.status());
  const auto text = tutti::read_file(argv[2], kMaxBytes);
  if (!text.ok()) return fail(text.status());
  auto spec = tutti::formats::parse_tokenizer_json(*json);
  if (!spec.ok()) return fail(spec.status());
  const auto tokenizer = tutti::text::Tokenizer::create(std::move(*spec));
  if (!tokenizer.ok()) return fail(tokenizer.status());

  double best_seconds = std::numeric_limits<double>::infinity();
  std::size_t num_tokens = 0;
  std::uint64_t checksum = 0;  // of the ids, for comparing with another implementation's
  for (int run = 0; run < std::atoi(argv[3]); ++run) {
    const tutti::TimePoint start = tutti::SteadyClock::now();
    const std::vector<std::int32_t> ids = (*tokenizer)->encode(*text);
    best_seconds = std::min(best_seconds, tutti::to_seconds(tutti::SteadyClock::now() - start));
    num_tokens = ids.size();
    checksum = 0;
    for (const std::int32_t id : ids) checksum = (checksum * 31 + static_cast<std::uint64_t>(id));
  }
  std::printf("{\"seconds\": %.6f, \"tokens\": %zu, \"checksum\": %llu}\n", best_seconds,
              num_tokens, static_cast<unsigned long long>(checksum));
}
