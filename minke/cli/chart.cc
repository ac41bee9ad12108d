#include "minke/cli/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace minke {
namespace {

// Pixels.
constexpr double kPanelWidth = 440, kPanelHeight = 360;             // with axes and labels
constexpr double kLeft = 74, kRight = 22, kTop = 78, kBottom = 52;  // of a panel, around what is plotted
constexpr double kPlotWidth = kPanelWidth - kLeft - kRight, kPlotHeight = kPanelHeight - kTop - kBottom;
constexpr double kLegendRow = 20, kLegendColumn = 220;

// Okabe and Ito's colours, told apart by everyone; beyond eight lines the dashes differ.
constexpr std::array kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31"};
constexpr std::array kDashes = {"none", "6 3", "2 2"};

std::string Text(double x, double y, const char* anchor, const std::string& text, const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                     XmlText(text));
}

std::string Segment(double x1, double y1, double x2, double y2, const char* color) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2, y2,
                     color);
}

struct Look {
  const char *color, *dash;
};
Look LookOf(size_t index) {
  return {kColors[index % kColors.size()], kDashes[index / kColors.size() % kDashes.size()]};
}

double Most(const ChartPanel& panel, double std::pair<double, double>::* part) {
  double most = 0;
  for (const ChartLine& line : panel.lines)
    for (const auto& point : line.points) most = std::max(most, point.*part);
  return most;
}

std::string Curve(const std::vector<std::pair<double, double>>& pixels, Look look) {
  std::string points, dots;
  for (const auto& [x, y] : pixels) {
    points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", x, y);
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x, y, look.color);
  }
  return fmt::format(
             "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>\n",
             points, look.color, look.dash) +
         dots;
}

std::string Panel(const ChartPanel& panel, double left, const std::vector<std::string>& names) {
  const double x0 = left + kLeft, y0 = kTop + kPlotHeight;
  const std::vector<double> x_ticks = AxisTicks(Most(panel, &std::pair<double, double>::first)),
                            y_ticks = AxisTicks(Most(panel, &std::pair<double, double>::second));
  const auto x_of = [&](double x) { return x0 + kPlotWidth * x / x_ticks.back(); };
  const auto y_of = [&](double y) { return y0 - kPlotHeight * y / y_ticks.back(); };
  std::string svg = Text(x0 + kPlotWidth / 2, kTop - 18, "middle", panel.title, " font-size=\"15\"");
  for (const double y : y_ticks) {
    svg += Segment(x0, y_of(y), x0 + kPlotWidth, y_of(y), "#dddddd");
    svg += Text(x0 - 8, y_of(y) + 4, "end", fmt::format("{:g}", y));
  }
  for (const double x : x_ticks) {
    svg += Segment(x_of(x), y0, x_of(x), y0 + 5, "#333333");
    svg += Text(x_of(x), y0 + 20, "middle", fmt::format("{:g}", x));
  }
  svg += Segment(x0, y0, x0 + kPlotWidth, y0, "#333333") + Segment(x0, kTop, x0, y0, "#333333");
  svg += Text(x0 + kPlotWidth / 2, y0 + 42, "middle", panel.x_label);
  const double label_x = left + 18, label_y = kTop + kPlotHeight / 2;
  svg += Text(label_x, label_y, "middle", panel.y_label,
              fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", label_x, label_y).c_str());
  for (const ChartLine& line : panel.lines) {
    std::vector<std::pair<double, double>> pixels;
    for (const auto& [x, y] : line.points) pixels.emplace_back(x_of(x), y_of(y));
    const Look look = LookOf(static_cast<size_t>(std::ranges::find(names, line.name) - names.begin()));
    for (size_t i = 0; i < line.errors.size() && i < line.points.size(); ++i) {
      const auto& [x, y] = line.points[i];
      const double top = std::min(y + line.errors[i], y_ticks.back()), bottom = std::max(y - line.errors[i], 0.0);
      svg += Segment(x_of(x), y_of(bottom), x_of(x), y_of(top), look.color);
    }
    svg += Curve(pixels, look);
  }
  return svg;
}

}  // namespace

std::string XmlText(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;  // XML has no control characters
    }
  }
  return safe;
}

std::vector<double> AxisTicks(double most) {
  if (!(most > 0)) most = 1;
  const double power = std::pow(10, std::floor(std::log10(most)));
  double step = 0.2 * power;
  for (const double part : {0.5, 1.0, 2.0})
    if (most / step > 7) step = part * power;
  std::vector<double> ticks = {0};
  for (int i = 1; ticks.back() < most * (1 - 1e-9); ++i) ticks.push_back(step * i);
  return ticks;
}

std::string ChartSvg(const std::string& title, std::span<const ChartPanel> panels) {
  std::vector<std::string> names;
  for (const ChartPanel& panel : panels)
    for (const ChartLine& line : panel.lines)
      if (std::ranges::find(names, line.name) == names.end()) names.push_back(line.name);
  const double width = std::max(1.0, static_cast<double>(panels.size())) * kPanelWidth;
  const size_t columns = static_cast<size_t>(width / kLegendColumn);
  const double height = kPanelHeight + kLegendRow * static_cast<double>((names.size() + columns - 1) / columns) + 12;

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n<title>{2}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      width, height, XmlText(title));
  svg += Text(width / 2, 28, "middle", title, " font-size=\"16\" font-weight=\"bold\"");
  for (size_t i = 0; i < panels.size(); ++i) svg += Panel(panels[i], kPanelWidth * static_cast<double>(i), names);
  for (size_t i = 0; i < names.size(); ++i) {
    const double x = kLeft + kLegendColumn * static_cast<double>(i % columns);
    const double y = kPanelHeight + kLegendRow * static_cast<double>(i / columns) + 10;
    svg += Curve({{x, y - 4}, {x + 28, y - 4}}, LookOf(i)) + Text(x + 38, y, "start", names[i]);
  }
  return svg + "</svg>\n";
}

std::string ChartHtml(const std::string& title, std::span<const ChartPanel> panels, const std::string& note) {
  return fmt::format(
      "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<title>{0}</title>\n</head>\n<body>\n{1}<p style=\"font-family: sans-serif\">{2}</p>\n</body>\n</html>\n",
      XmlText(title), ChartSvg(title, panels), XmlText(note));
}

}  // namespace minke
