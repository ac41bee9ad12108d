#include "minke/cli/chart.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace minke {
namespace {

// Tags open and close in order, attributes are quoted, and no bare < or & is left: what an XML parser insists on.
testing::AssertionResult IsWellFormed(const std::string& xml) {
  std::vector<std::string> open;
  const auto failed = [&](size_t at, const char* why) {
    return testing::AssertionFailure() << why << " at " << at << ": " << xml.substr(at, 60);
  };
  for (size_t i = 0; i < xml.size(); ++i) {
    if (xml[i] == '&') {
      const size_t end = xml.find(';', i);
      const std::string name = end == xml.npos ? "" : xml.substr(i + 1, end - i - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot") return failed(i, "bare &");
    }
    if (xml[i] == '>') return failed(i, "bare >");
    if (xml[i] != '<') continue;
    const size_t end = xml.find('>', i);
    if (end == xml.npos || xml.find('<', i + 1) < end) return failed(i, "bare <");
    const std::string tag = xml.substr(i + 1, end - i - 1), name = tag.substr(0, tag.find_first_of(" /", 1));
    if (std::count(tag.begin(), tag.end(), '"') % 2) return failed(i, "open quote");
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != tag) return failed(i, "closes another tag");
      open.pop_back();
    } else if (tag[0] != '!' && tag.back() != '/') {
      open.push_back(name);
    }
    i = end;
  }
  return open.empty() ? testing::AssertionSuccess() : failed(xml.size(), "tags left open");
}

std::vector<ChartPanel> Panels() {
  return {{"Prefilling", "token position (K)", "USD per million tokens", {{"dsa", {{0, 1}, {128, 2}}}}},
          {"Decoding", "x", "y", {{"dense <&\"> \x01", {{0, 1}, {128, 900}}}, {"dsa", {{0, 3}}}}}};
}

TEST(Chart, IsWellFormedWhateverTheNames) {
  EXPECT_FALSE(IsWellFormed("<a><b></a></b>"));
  EXPECT_FALSE(IsWellFormed("<a>x & y</a>"));
  const std::string svg = ChartSvg("a <title> & more", Panels());
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(IsWellFormed(svg));
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_TRUE(IsWellFormed(ChartHtml("a <title>", Panels(), "a note & more")));
  EXPECT_TRUE(IsWellFormed(ChartSvg("nothing", {})));
  EXPECT_TRUE(IsWellFormed(ChartSvg("no lines", std::vector<ChartPanel>{{"p", "x", "y", {}}})));
}

TEST(Chart, StandsAlone) {
  const std::string html = ChartHtml("t", Panels(), "n");
  for (const char* outside : {"href", "src=", "url(", "<script", "@import"})
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
}

TEST(Chart, ALineLooksTheSameInBothPanels) {
  const ChartLine dsa{"dsa", {{0, 1}, {1, 1}}}, dense{"dense", {{0, 1}, {1, 2}}};
  const std::vector<ChartPanel> panels = {{"p", "x", "y", {dsa, dense}}, {"q", "x", "y", {dense}}};
  const std::string svg = ChartSvg("t", panels);
  size_t found = 0;  // the second colour: a curve in each panel, and one in the legend
  for (size_t at = 0; (at = svg.find("stroke=\"#D55E00\"", at)) != svg.npos; ++at) ++found;
  EXPECT_EQ(found, 3u);
}

TEST(Chart, PointsLieInsideTheirAxes) {
  // The largest y of the second panel is 900; ticks go to 1000, so it stands a tenth below the top (78 of 230 pixels).
  EXPECT_NE(ChartSvg("t", Panels()).find(",101.0\""), std::string::npos) << ChartSvg("t", Panels());
}

TEST(Chart, TicksAreRound) {
  EXPECT_EQ(AxisTicks(128), (std::vector<double>{0, 20, 40, 60, 80, 100, 120, 140}));
  EXPECT_EQ(AxisTicks(100), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(AxisTicks(900), (std::vector<double>{0, 200, 400, 600, 800, 1000}));
  EXPECT_EQ(AxisTicks(3), (std::vector<double>{0, 0.5, 1, 1.5, 2, 2.5, 3}));
  EXPECT_EQ(AxisTicks(0), AxisTicks(1));
  for (double most = 1e-6; most < 1e9; most *= 1.37) {
    const auto ticks = AxisTicks(most);
    EXPECT_GE(ticks.back(), most * (1 - 1e-9));
    EXPECT_GE(ticks.size(), 4u) << most;
    EXPECT_LE(ticks.size(), 8u) << most;
  }
}

TEST(Chart, ErrorBarsStayInside) {
  const ChartPanel panel{"t", "x", "y", {{"a", {{1, 5}, {2, 9}}, {1, 100}}}};
  const std::string with = ChartSvg("t", std::vector{panel});
  ChartPanel plain = panel;
  plain.lines[0].errors.clear();
  const std::string without = ChartSvg("t", std::vector{plain});
  const auto lines = [](const std::string& svg) {
    int count = 0;
    for (size_t at = svg.find("<line"); at != std::string::npos; at = svg.find("<line", at + 1)) ++count;
    return count;
  };
  EXPECT_EQ(lines(with), lines(without) + 2);
  EXPECT_EQ(with.find("y2=\"-"), std::string::npos);
}

}  // namespace
}  // namespace minke
