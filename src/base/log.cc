#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace tutti::log {

bool set_level(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") return false;
  spdlog::set_level(parsed);
  return true;
}

void initialise() {
  spdlog::set_default_logger(spdlog::stderr_color_mt("tutti"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
}

}  // namespace tutti::log
