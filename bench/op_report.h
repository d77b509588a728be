// What bench_ops found, as a line of a table, as JSON, and as a roofline picture.
#pragma once

#include <string>
#include <vector>

#include "device/machine_limits.h"

namespace tutti {

// One operation, timed beside the machine's limits of the same moment.
struct Timing {
  std::string name;
  std::string kind;           // the picture's colour: a weight type, "attention", "elementwise"
  double seconds = 0;         // median of a call
  double bytes = 0;           // that must come from memory in a call
  double operations = 0;      // a multiply-add is two; 0: not an operation of products
  double read_limit = 0;      // 10^9 bytes/s
  double multiply_limit = 0;  // 10^9 operations/s; 0: none
  std::string loop;           // what multiply_limit was measured with

  double gigabytes_per_second() const { return bytes / seconds / 1e9; }
  double gigaops() const { return operations / seconds / 1e9; }
  double read_share() const { return gigabytes_per_second() / read_limit; }
  double multiply_share() const { return multiply_limit > 0 ? gigaops() / multiply_limit : 0; }
  // Of the limit that is nearer.
  double limit_share() const {
    return read_share() > multiply_share() ? read_share() : multiply_share();
  }
};

struct Report {
  std::string compute;  // class, instruction set
  std::string isa;
  int num_threads = 0;
  std::vector<Timing> timings;
};

std::string table_head(const Report& report);
std::string table_line(const Timing& timing);
std::string report_as_json(const Report& report);

// Operations per byte of memory against operations per second, both by their logarithms, below the
// roofs of the read sweep and of each multiply loop that was measured (medians over the report). A
// point's tooltip is its line of the table.
std::string roofline_svg(const Report& report);

}  // namespace tutti
