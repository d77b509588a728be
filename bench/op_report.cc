#include "op_report.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace tutti {

namespace json = boost::json;

std::string table_head(const Report& report) {
  return fmt::format("compute {}, isa {}, {} threads\n{:<46} {:>10} {:>7} {:>8} {:>9} {:>9}  {}\n",
                     report.compute, report.isa, report.num_threads, "", "us", "GB/s", "GOPS",
                     "of sweep", "of loop", "loop");
}

std::string table_line(const Timing& timing) {
  return fmt::format("{:<46} {:>10.1f} {:>7.1f} {:>8.1f} {:>8.0f}% {:>8.0f}%  {}\n", timing.name,
                     timing.seconds * 1e6, timing.gigabytes_per_second(), timing.gigaops(),
                     100 * timing.read_share(), 100 * timing.multiply_share(), timing.loop);
}

std::string report_as_json(const Report& report) {
  json::array cases;
  for (const Timing& timing : report.timings) {
    cases.push_back({{"name", timing.name},
                     {"kind", timing.kind},
                     {"microseconds", timing.seconds * 1e6},
                     {"gigabytes_per_second", timing.gigabytes_per_second()},
                     {"gigaops", timing.gigaops()},
                     {"read_sweep_gigabytes_per_second", timing.read_limit},
                     {"multiply_loop", timing.loop},
                     {"multiply_loop_gigaops", timing.multiply_limit},
                     {"share_of_read_sweep", timing.read_share()},
                     {"share_of_multiply_loop", timing.multiply_share()},
                     {"share_of_limit", timing.limit_share()}});
  }
  const json::object result{{"compute", report.compute},
                            {"isa", report.isa},
                            {"threads", report.num_threads},
                            {"cases", std::move(cases)}};
  return json::serialize(result) + "\n";
}

}  // namespace tutti
