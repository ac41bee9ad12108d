#include <sys/types.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#ifdef MINKE_TLS
#include <boost/asio/ssl.hpp>
#include <boost/beast/ssl.hpp>
#endif
#include <cctype>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "minke/base/http.h"

namespace minke {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 64 << 10;

struct Url {
  bool tls = false;
  std::string host, port, target;  // host without the brackets of IPv6
  std::string host_header;
};

bool HasControls(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

Result<Url> ParseUrl(std::string_view text) {
  const std::string shown = PublicUrl(text);
  const auto bad = [&](const char* why) {
    return Fail(Code::kInvalidArgument, "url {}: {}; expected http://HOST[:PORT]/PATH", shown, why);
  };
  if (HasControls(text) || text.find(' ') != text.npos) return bad("has a space or a control character");
  Url url;
  const size_t colon = text.find("://");
  std::string scheme(text.substr(0, colon == text.npos ? 0 : colon));
  std::ranges::transform(scheme, scheme.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (scheme != "http" && scheme != "https") return bad("is neither http nor https");
  url.tls = scheme == "https";
  text.remove_prefix(colon + 3);
  text = text.substr(0, text.find('#'));
  const size_t path = std::min(text.find_first_of("/?"), text.size());
  std::string_view place = text.substr(0, path);
  url.target = text.substr(path);
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  if (place.find('@') != place.npos) return bad("holds a user name or password, which is not sent");
  url.host_header = place;
  if (place.starts_with('[')) {
    const size_t end = place.find(']');
    if (end == place.npos) return bad("has no ] behind its address");
    url.host = place.substr(1, end - 1);
    place.remove_prefix(end + 1);
  } else {
    const size_t end = std::min(place.find(':'), place.size());
    url.host = place.substr(0, end);
    place.remove_prefix(end);
  }
  if (url.host.empty()) return bad("names no host");
  url.port = url.tls ? "443" : "80";
  if (!place.empty()) {
    url.port = place.substr(1);
    const bool digits = place[0] == ':' && !url.port.empty() && url.port.size() <= 5 &&
                        std::ranges::all_of(url.port, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || std::stoi(url.port) < 1 || std::stoi(url.port) > 65535) return bad("has no port from 1 to 65535");
  }
  return url;
}

// How long a call may go on: until its deadline, or until its caller has lost interest.
class Waiting {
 public:
  explicit Waiting(const HttpCall& call)
      : call_(call), deadline_(Clock::now() + std::chrono::milliseconds(call.timeout_ms)) {}
  bool cancelled() const { return cancelled_; }
  bool Over() {
    cancelled_ = cancelled_ || (call_.cancelled && call_.cancelled());
    return cancelled_ || Clock::now() >= deadline_;
  }
  // When to ask again.
  Clock::time_point NextLook() const {
    return call_.cancelled ? std::min(deadline_, Clock::now() + std::chrono::milliseconds(100)) : deadline_;
  }

 private:
  const HttpCall& call_;
  const Clock::time_point deadline_;
  bool cancelled_ = false;
};

tl::unexpected<Error> Cancelled(const std::string& shown) {
  return Fail(Code::kCancelled, "{}: the call was given up", shown);
}

// The addresses of a name. The system's resolver cannot be told to stop, so it runs in a thread that is left behind.
Result<std::vector<tcp::endpoint>> Resolve(const Url& url, Waiting& waiting, const std::string& shown) {
  const auto port = static_cast<uint16_t>(std::stoi(url.port));
  error_code error;
  if (const auto address = asio::ip::make_address(url.host, error); !error)
    return std::vector<tcp::endpoint>{{address, port}};
  struct Lookup {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    error_code error;
    std::vector<tcp::endpoint> found;
  };
  const auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, host = url.host, service = url.port] {
    error_code failed;
    std::vector<tcp::endpoint> found;
    try {
      asio::io_context io;
      for (const auto& entry : tcp::resolver(io).resolve(host, service, failed)) found.push_back(entry.endpoint());
    } catch (const std::exception&) {
      failed = asio::error::no_recovery;
    }
    const std::scoped_lock lock(lookup->mutex);
    lookup->done = true, lookup->error = failed, lookup->found = std::move(found);
    lookup->changed.notify_all();
  }).detach();
  std::unique_lock lock(lookup->mutex);
  while (!lookup->done && !waiting.Over()) lookup->changed.wait_until(lock, waiting.NextLook());
  if (!lookup->done && waiting.cancelled()) return Cancelled(shown);
  if (!lookup->done)
    return Fail(Code::kNetwork, "{}: looking up {} took too long: check the name server", shown, url.host);
  if (lookup->error || lookup->found.empty())
    return Fail(Code::kNetwork, "{}: host {} is not found: {}", shown, url.host, lookup->error.message());
  return lookup->found;
}

// Asynchronous steps, each waited for until the one deadline of the call.
class Exchange {
 public:
  Exchange(const HttpCall& call, const Url& url)
      : call_(call), url_(url), shown_(PublicUrl(call.url)), waiting_(call) {}

  Result<HttpReply> Run() {
    MINKE_ASSIGN(const auto endpoints, Resolve(url_, waiting_, shown_));
    if (!url_.tls) {
      beast::tcp_stream stream(io_);
      MINKE_TRY(Connect(stream, endpoints));
      return Talk(stream);
    }
#ifdef MINKE_TLS
    asio::ssl::context tls(asio::ssl::context::tls_client);
    tls.set_default_verify_paths();
    tls.set_verify_mode(asio::ssl::verify_peer);
    beast::ssl_stream<beast::tcp_stream> stream(io_, tls);
    stream.set_verify_callback(asio::ssl::host_name_verification(url_.host));
    SSL_set_tlsext_host_name(stream.native_handle(), url_.host.c_str());
    MINKE_TRY(Connect(stream.next_layer(), endpoints));
    MINKE_TRY(Wait(stream.next_layer(), "agree on TLS",
                   [&](auto done) { stream.async_handshake(asio::ssl::stream_base::client, std::move(done)); }));
    return Talk(stream);
#else
    return Fail(Code::kUnsupported, "{}: this build of minke has no TLS: use http, or a build with OpenSSL", shown_);
#endif
  }

 private:
  // start(done) begins an operation that calls done(error, ...) once.
  template <class Start>
  Status Wait(beast::tcp_stream& stream, const char* action, Start start) {
    std::optional<error_code> result;
    start([&result](error_code error, auto&&...) { result = error; });
    io_.restart();
    while (!result && !waiting_.Over()) io_.run_until(waiting_.NextLook());
    if (!result) {
      stream.close();
      io_.restart();
      io_.run();  // the operation ends at once, and with it its references to our locals
      if (waiting_.cancelled()) return Cancelled(shown_);
      return Fail(Code::kNetwork, "{}: no answer within {} ms (tried to {}): is the server overloaded?", shown_,
                  call_.timeout_ms, action);
    }
    if (*result == http::error::body_limit)
      return Fail(Code::kNetwork, "{}: the answer is longer than {} bytes", shown_, call_.max_body_bytes);
    if (*result == http::error::header_limit)
      return Fail(Code::kNetwork, "{}: the answer's header is longer than {} bytes", shown_, kMaxHeaderBytes);
    if (*result == http::error::end_of_stream || *result == http::error::partial_message)
      return Fail(Code::kNetwork, "{}: the server closed the connection before its answer was whole", shown_);
    if (*result) return Fail(Code::kNetwork, "{}: cannot {}: {}", shown_, action, result->message());
    return {};
  }

  Status Connect(beast::tcp_stream& stream, const std::vector<tcp::endpoint>& endpoints) {
    return Wait(stream, "connect", [&](auto done) { stream.async_connect(endpoints, std::move(done)); });
  }

  template <class Stream>
  Result<HttpReply> Talk(Stream& stream) {
    beast::tcp_stream& lowest = beast::get_lowest_layer(stream);
    http::request<http::string_body> request;
    request.version(11);
    request.method_string(call_.method);
    request.target(url_.target);
    request.set(http::field::host, url_.host_header);
    request.set(http::field::user_agent, "minke");
    request.set(http::field::accept, "*/*");
    for (const HttpHeader& header : call_.headers) request.set(header.name, header.value);
    request.keep_alive(false);
    request.body() = call_.body;
    if (!call_.body.empty() || call_.method == "POST" || call_.method == "PUT") request.prepare_payload();
    MINKE_TRY(Wait(lowest, "send", [&](auto done) { http::async_write(stream, request, std::move(done)); }));
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(static_cast<uint64_t>(call_.max_body_bytes));
    parser.header_limit(kMaxHeaderBytes);
    if (call_.method == "HEAD") parser.skip(true);
    MINKE_TRY(Wait(lowest, "read", [&](auto done) { http::async_read(stream, buffer, parser, std::move(done)); }));
    HttpReply reply;
    reply.status = static_cast<int>(parser.get().result_int());
    for (const auto& field : parser.get())
      reply.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    reply.body = std::move(parser.get().body());
    return reply;
  }

  const HttpCall& call_;
  const Url& url_;
  const std::string shown_;
  Waiting waiting_;
  asio::io_context io_{1};
};

bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

}  // namespace

std::string_view HttpReply::Header(std::string_view name) const {
  for (const HttpHeader& header : headers)
    if (beast::iequals(header.name, name)) return header.value;
  return {};
}

std::string PublicUrl(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const size_t colon = url.find("://"), begin = colon == url.npos ? 0 : colon + 3;
  const size_t at = url.substr(begin, url.find('/', begin) - begin).rfind('@');
  std::string shown(url);
  if (at != url.npos) shown.erase(begin, at + 1);
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return shown;
}

Result<HttpReply> SendHttp(const HttpCall& call) {
  MINKE_ASSIGN(const Url url, ParseUrl(call.url));
  if (!IsToken(call.method)) return Fail(Code::kInvalidArgument, "\"{}\" is no HTTP method", call.method);
  for (const HttpHeader& header : call.headers) {
    if (!IsToken(header.name)) return Fail(Code::kInvalidArgument, "\"{}\" is no name of an HTTP header", header.name);
    if (HasControls(header.value))  // never shown: it may be a key
      return Fail(Code::kInvalidArgument, "the HTTP header {} holds a control character, such as a newline",
                  header.name);
  }
  try {
    return Exchange(call, url).Run();
  } catch (const std::exception& e) {  // no descriptors, no memory
    return Fail(Code::kNetwork, "{}: {}", PublicUrl(call.url), e.what());
  }
}

}  // namespace minke
