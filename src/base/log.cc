#include "base/log.h"

#include <fmt/chrono.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/json.h"

namespace tutti::log {
namespace {

constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v";
// Lines of this logger hold the members of a JSON object, or their text, and not a message.
constexpr const char* kEventLogger = "tutti-event";

std::atomic<bool> writes_json{false};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string_view level(spdlog::level::to_string_view(message.level).data());
    const auto time = std::chrono::time_point_cast<std::chrono::milliseconds>(message.time);
    const auto whole = std::chrono::time_point_cast<std::chrono::seconds>(time);
    std::string line = fmt::format("{{\"time\":\"{:%Y-%m-%dT%H:%M:%S}.{:03}Z\",\"level\":\"{}\",",
                                   fmt::gmtime(std::chrono::system_clock::to_time_t(whole)),
                                   (time - whole).count(), level);
    const bool is_event =
        std::string_view(message.logger_name.data(), message.logger_name.size()) == kEventLogger;
    line += is_event ? std::string(payload) : "\"message\":" + write_json(json::value(payload));
    line += "}\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

bool is_plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 127 && c != '"' && c != '=';
  });
}

std::string as_text(const char* name, const json::object& fields) {
  std::string line = name;
  for (const auto& field : fields) {
    const json::string* text = field.value().if_string();
    line += fmt::format(" {}={}", std::string_view(field.key()),
                        text && is_plain(*text) ? std::string(*text) : write_json(field.value()));
  }
  return line;
}

std::string as_members(const char* name, const json::object& fields) {
  json::object object{{"message", name}};
  for (const auto& field : fields) object.insert(field);
  const std::string whole = write_json(object);
  return whole.substr(1, whole.size() - 2);
}

}  // namespace

bool set_level(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") return false;
  spdlog::set_level(parsed);
  return true;
}

bool set_format(const std::string& format) {
  if (format != "text" && format != "json") return false;
  writes_json = format == "json";
  if (writes_json) {
    spdlog::set_formatter(std::make_unique<JsonFormatter>());
  } else {
    spdlog::set_formatter(std::make_unique<spdlog::pattern_formatter>(kTextPattern));
  }
  return true;
}

void event(const char* name, const json::object& fields) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kEventLogger);
  if (!logger || !logger->should_log(spdlog::level::info)) return;
  // Never a format string: a value may hold braces.
  logger->log(spdlog::level::info, spdlog::string_view_t(writes_json ? as_members(name, fields)
                                                                     : as_text(name, fields)));
}

void initialise() {
  spdlog::set_default_logger(spdlog::stderr_color_mt("tutti"));
  const std::shared_ptr<spdlog::logger> main_logger = spdlog::default_logger();
  spdlog::register_logger(
      std::make_shared<spdlog::logger>(kEventLogger, main_logger->sinks().front()));
  set_format("text");
}

}  // namespace tutti::log
