#include "minke/base/json.h"

#include <set>
#include <string>
#include <vector>

namespace minke {
namespace {

// Feeds nlohmann's DOM builder, and stops at the first thing we do not accept.
class LimitedSax : public nlohmann::detail::json_sax_dom_parser<Json> {
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;

 public:
  LimitedSax(Json& value, JsonLimits limits) : Base(value, /*allow_exceptions=*/false), limits_(limits) {}

  bool start_object(std::size_t count) {
    if (!Enter()) return false;
    keys_.emplace_back();
    return Base::start_object(count);
  }
  bool end_object() {
    --depth_;
    keys_.pop_back();
    return Base::end_object();
  }
  bool start_array(std::size_t count) { return Enter() && Base::start_array(count); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool null() { return Count() && Base::null(); }
  bool boolean(bool value) { return Count() && Base::boolean(value); }
  bool number_integer(int64_t value) { return Count() && Base::number_integer(value); }
  bool number_unsigned(uint64_t value) { return Count() && Base::number_unsigned(value); }
  bool number_float(double value, const std::string& text) { return Count() && Base::number_float(value, text); }
  bool string(std::string& value) { return Count() && Base::string(value); }
  bool key(std::string& name) {
    if (!keys_.back().insert(name).second) {
      problem_ = fmt::format("the key \"{}\" appears twice", name.substr(0, 80));
      return false;
    }
    return Base::key(name);
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    problem_ = fmt::format("not valid JSON at byte {}", position);
    return false;
  }
  const std::string& problem() const { return problem_; }

 private:
  bool Count() {
    if (++values_ <= limits_.max_values) return true;
    problem_ = fmt::format("more than {} values", limits_.max_values);
    return false;
  }
  bool Enter() {
    if (!Count()) return false;
    if (++depth_ <= limits_.max_depth) return true;
    problem_ = fmt::format("nested deeper than {}", limits_.max_depth);
    return false;
  }

  JsonLimits limits_;
  int depth_ = 0;
  int64_t values_ = 0;
  std::vector<std::set<std::string, std::less<>>> keys_;
  std::string problem_;
};

template <class Value>
std::string Dump(const Value& value) {
  return value.dump(-1, ' ', false, Value::error_handler_t::replace);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view where, JsonLimits limits) {
  Json root;
  LimitedSax sax(root, limits);
  if (!Json::sax_parse(text.begin(), text.end(), &sax)) return Fail(Code::kDamaged, "{}: {}", where, sax.problem());
  return root;
}

std::string DumpJson(const Json& value) { return Dump(value); }
std::string DumpJson(const OrderedJson& value) { return Dump(value); }

}  // namespace minke
