// Line charts as SVG that stands alone: no script, no font file, no link; well-formed XML whatever the names.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace minke {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // finite, not negative, x ascending
  std::vector<double> errors = {};                // of each point: half the height of its bar; empty: no bars
};
struct ChartPanel {
  std::string title, x_label, y_label;
  std::vector<ChartLine> lines;  // one that has the same name in two panels looks the same in both
};

// `text` as the content of an element or attribute.
std::string XmlText(const std::string& text);

// Panels side by side, one legend below them.
std::string ChartSvg(const std::string& title, std::span<const ChartPanel> panels);
// A page with the chart and a line of text under it.
std::string ChartHtml(const std::string& title, std::span<const ChartPanel> panels, const std::string& note);

// Where ticks stand on an axis from 0 to at least `most`: steps of 1, 2 or 5 times a power of ten, at most seven of
// them.
std::vector<double> AxisTicks(double most);

}  // namespace minke
