// The roofline picture. Source of the idea: Williams, Waterman, Patterson, "Roofline: an insightful
// visual performance model for multicore architectures", CACM 52(4), 2009.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "op_report.h"

namespace tutti {
namespace {

constexpr double kWidth = 1000, kHeight = 640;
constexpr double kLeft = 80, kRight = 790, kTop = 50, kBottom = 580;

// Decades [first, last) on one axis, drawn from `begin` to `end`.
struct LogAxis {
  int first_decade, last_decade;
  double begin, end;

  static LogAxis around(double low, double high, double begin, double end) {
    const int first = static_cast<int>(std::floor(std::log10(low)));
    const int last = static_cast<int>(std::ceil(std::log10(high)));
    return {first, std::max(last, first + 1), begin, end};
  }
  double low() const { return std::pow(10.0, first_decade); }
  double high() const { return std::pow(10.0, last_decade); }
  double at(double value) const {
    const double share = (std::log10(value) - first_decade) / (last_decade - first_decade);
    return begin + share * (end - begin);
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The roofs: the median limits of the report.
struct Roofs {
  double read = 0;
  std::map<std::string, double> loops;
};

Roofs roofs_of(const std::vector<Timing>& timings) {
  std::vector<double> reads;
  std::map<std::string, std::vector<double>> loops;
  for (const Timing& timing : timings) {
    reads.push_back(timing.read_limit);
    if (timing.multiply_limit > 0) loops[timing.loop].push_back(timing.multiply_limit);
  }
  Roofs roofs{median(reads), {}};
  for (const auto& [name, rates] : loops) roofs.loops[name] = median(rates);
  return roofs;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1,
                     x2, y2, style);
}

std::string text(double x, double y, const std::string& words, const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, escaped(words));
}

// 0.01, 1, 1000 as people write them.
std::string decade(int exponent) { return fmt::format("{:g}", std::pow(10.0, exponent)); }

std::string grid(const LogAxis& x, const LogAxis& y) {
  constexpr const char* kGrid = "stroke=\"#e4e4e4\"";
  std::string svg;
  for (int d = x.first_decade; d <= x.last_decade; ++d) {
    const double at = x.at(std::pow(10.0, d));
    svg += line(at, kTop, at, kBottom, kGrid);
    svg += text(at, kBottom + 18, decade(d), "text-anchor=\"middle\"");
  }
  for (int d = y.first_decade; d <= y.last_decade; ++d) {
    const double at = y.at(std::pow(10.0, d));
    svg += line(kLeft, at, kRight, at, kGrid);
    svg += text(kLeft - 8, at + 4, decade(d), "text-anchor=\"end\"");
  }
  svg += text((kLeft + kRight) / 2, kBottom + 42, "operations for each byte read from memory",
              "text-anchor=\"middle\"");
  svg += text(kLeft - 60, kTop - 12, "10^9 operations a second");
  return svg;
}

std::string draw_roofs(const Roofs& roofs, const LogAxis& x, const LogAxis& y) {
  constexpr const char* kRoof = "stroke=\"#444\" stroke-width=\"1.5\"";
  double highest = 0;
  std::string svg;
  for (const auto& [name, rate] : roofs.loops) {
    highest = std::max(highest, rate);
    const double ridge = std::clamp(rate / roofs.read, x.low(), x.high());
    svg += line(x.at(ridge), y.at(rate), kRight, y.at(rate), kRoof);
    svg += text(kRight - 4, y.at(rate) - 5, fmt::format("{} loop: {:.0f}", name, rate),
                "text-anchor=\"end\" fill=\"#444\"");
  }
  // From where the sweep enters the picture to the highest roof.
  const double from = std::max(x.low(), y.low() / roofs.read);
  const double to = std::min(x.high(), highest / roofs.read);
  svg += line(x.at(from), y.at(from * roofs.read), x.at(to), y.at(to * roofs.read), kRoof);
  const double label = std::sqrt(from * to);
  svg +=
      text(x.at(label) - 8, y.at(label * roofs.read) - 10,
           fmt::format("read sweep: {:.1f} GB/s", roofs.read), "text-anchor=\"end\" fill=\"#444\"");
  return svg;
}

}  // namespace

std::string roofline_svg(const Report& report) {
  constexpr const char* kColours[] = {"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
                                      "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f"};
  std::vector<Timing> points;
  for (const Timing& timing : report.timings) {
    if (timing.operations > 0 && timing.bytes > 0) points.push_back(timing);
  }
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, kHeight);
  svg += text(kLeft, 22,
              fmt::format("Tutti, compute {}, {}, {} threads", report.compute, report.isa,
                          report.num_threads),
              "font-size=\"16\"");
  if (points.empty()) return svg + "</svg>\n";

  const Roofs roofs = roofs_of(points);
  double low_x = 1e30, high_x = 0, low_y = 1e30, high_y = 0;
  for (const Timing& point : points) {
    low_x = std::min(low_x, point.operations / point.bytes);
    high_x = std::max(high_x, point.operations / point.bytes);
    low_y = std::min(low_y, point.gigaops());
    high_y = std::max(high_y, point.gigaops());
  }
  for (const auto& [name, rate] : roofs.loops) high_y = std::max(high_y, rate);
  const LogAxis x = LogAxis::around(low_x, high_x, kLeft, kRight);
  const LogAxis y = LogAxis::around(low_y, high_y, kBottom, kTop);
  svg += grid(x, y) + draw_roofs(roofs, x, y);

  std::vector<std::string> kinds;
  for (const Timing& point : points) {
    auto found = std::find(kinds.begin(), kinds.end(), point.kind);
    if (found == kinds.end()) found = kinds.insert(kinds.end(), point.kind);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.7\">"
        "<title>{}: {:.0f} GOPS, {:.1f} GB/s, {:.0f}% of the nearer limit</title></circle>\n",
        x.at(point.operations / point.bytes), y.at(point.gigaops()),
        kColours[(found - kinds.begin()) % std::size(kColours)], escaped(point.name),
        point.gigaops(), point.gigabytes_per_second(), 100 * point.limit_share());
  }
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const double at = kTop + 20 * static_cast<double>(i);
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"/>\n", kRight + 25,
                       at, kColours[i % std::size(kColours)]);
    svg += text(kRight + 36, at + 4, kinds[i]);
  }
  return svg + "</svg>\n";
}

}  // namespace tutti
