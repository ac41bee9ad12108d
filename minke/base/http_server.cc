#include <sys/types.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>

#include "minke/base/http.h"

namespace minke {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 32 << 10;

// Whether a Host header, without its port, is this machine.
bool IsLoopback(std::string_view host) {
  if (!host.ends_with(']')) host = host.substr(0, host.rfind(':'));
  return host == "127.0.0.1" || host == "localhost" || host == "[::1]";
}

std::string EventText(std::string_view event, std::string_view data) {
  std::string text;
  if (!event.empty()) text += fmt::format("event: {}\n", event);
  while (true) {
    const size_t end = data.find('\n');
    text += fmt::format("data: {}\n", data.substr(0, end));
    if (end == data.npos) break;
    data.remove_prefix(end + 1);
  }
  return text + "\n";
}

// What connections need of their server. All but the atomics belong to the server's thread.
struct Shared {
  HttpRoutes routes;
  HttpServerOptions options;
  std::atomic<int> stream_clients{0};
  std::atomic<int64_t> pending_bytes{0};  // published and neither sent nor dropped
  int connections = 0;
};

// One connection. Lives as long as an operation of it is pending.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, Shared& shared) : stream_(std::move(socket)), shared_(shared) {
    ++shared_.connections;
  }
  ~Connection() {
    --shared_.connections;
    if (!topic_.empty()) --shared_.stream_clients;
    shared_.pending_bytes -= pending_;
  }

  void Read() {
    parser_.emplace();
    parser_->body_limit(static_cast<uint64_t>(shared_.options.max_body_bytes));
    parser_->header_limit(kMaxHeaderBytes);
    stream_.expires_after(Timeout());
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) { self->OnRead(error); });
  }

  const std::string& topic() const { return topic_; }  // of a stream; "" before, and for other requests

  void Send(const std::shared_ptr<const std::string>& text) {
    const auto size = static_cast<int64_t>(text->size());
    if (!stream_.socket().is_open()) return;
    if (pending_ > 0 && pending_ + size > shared_.options.max_pending_bytes) return stream_.close();
    queue_.push_back(text);
    pending_ += size, shared_.pending_bytes += size;
    if (queue_.size() == 1) WriteNext();
  }

 private:
  std::chrono::milliseconds Timeout() const { return std::chrono::milliseconds(shared_.options.timeout_ms); }

  void OnRead(error_code error) {
    if (!error) {
      Answer(parser_->release());
    } else if (error == http::error::body_limit) {
      Reply({413, "text/plain", "the body is too long\n"}, false);
    } else if (error == http::error::header_limit) {
      Reply({431, "text/plain", "the header is too long\n"}, false);
    } else if (error.category() == make_error_code(http::error::end_of_stream).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      Reply({400, "text/plain", "this is not HTTP\n"}, false);
    }
  }

  void Answer(http::request<http::string_body> message) {
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string_view target(message.target().data(), message.target().size());
    const size_t question = std::min(target.find('?'), target.size());
    request.path = target.substr(0, question);
    if (question < target.size()) request.query = target.substr(question + 1);
    for (const auto& field : message)
      request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    request.body = std::move(message.body());
    const bool keep = message.keep_alive();

    const auto host = message[http::field::host];
    if (!IsLoopback({host.data(), host.size()}))
      return Reply({403, "text/plain", "this is for 127.0.0.1 only\n"}, keep);
    if (request.method == "GET" && shared_.routes.streams.contains(request.path)) return Stream(request.path);
    const auto& handlers = shared_.routes.handlers;
    if (const auto found = handlers.find(request.method + " " + request.path); found != handlers.end())
      return Reply(found->second(request), keep);
    const bool known = shared_.routes.streams.contains(request.path) || handlers.contains("GET " + request.path) ||
                       handlers.contains("POST " + request.path);
    Reply({known ? 405 : 404, "text/plain", known ? "no such method here\n" : "nothing is here\n"}, keep);
  }

  void Reply(HttpAnswer answer, bool keep) {
    response_ = {};
    response_.version(11);
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    response_.keep_alive(keep);
    response_.body() = std::move(answer.body);
    response_.prepare_payload();
    stream_.expires_after(Timeout());
    http::async_write(stream_, response_, [self = shared_from_this(), keep](error_code error, size_t) {
      if (error) return;
      if (keep) return self->Read();
      error_code ignored;
      self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }

  void Stream(const std::string& path) {
    topic_ = path;
    ++shared_.stream_clients;
    // Nothing more is expected; the read ends when the client goes.
    stream_.expires_never();
    stream_.async_read_some(asio::buffer(&byte_, 1),
                            [self = shared_from_this()](error_code, size_t) { self->stream_.close(); });
    Send(
        std::make_shared<const std::string>("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                            "Cache-Control: no-store\r\nConnection: close\r\n\r\n: hello\n\n"));
  }

  void WriteNext() {
    stream_.expires_after(Timeout());
    asio::async_write(stream_, asio::buffer(*queue_.front()), [self = shared_from_this()](error_code error, size_t) {
      const auto size = static_cast<int64_t>(self->queue_.front()->size());
      self->pending_ -= size, self->shared_.pending_bytes -= size;
      self->queue_.pop_front();
      if (error) return self->stream_.close();
      if (!self->queue_.empty()) self->WriteNext();
    });
  }

  beast::tcp_stream stream_;
  Shared& shared_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::string topic_;
  char byte_ = 0;
  std::deque<std::shared_ptr<const std::string>> queue_;
  int64_t pending_ = 0;
};

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpRoutes routes, const HttpServerOptions& options) {
    shared_.routes = std::move(routes), shared_.options = options;
  }
  ~Impl() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Status Open() {
    const tcp::endpoint place(asio::ip::address_v4::loopback(), static_cast<uint16_t>(shared_.options.port));
    error_code error;
    acceptor_.open(place.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(place, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error)
      return Fail(Code::kCannotListen, "127.0.0.1:{}: cannot listen: {}: choose another port, or 0 for any",
                  shared_.options.port, error.message());
    port_ = acceptor_.local_endpoint().port();
    Accept();
    thread_ = std::thread([this] { Serve(); });
    return {};
  }

  void Publish(std::string_view path, std::string_view event, std::string_view data) {
    auto text = std::make_shared<const std::string>(EventText(event, data));
    const auto size = static_cast<int64_t>(text->size());
    shared_.pending_bytes += size;
    asio::post(io_, [this, topic = std::string(path), text = std::move(text), size] {
      std::erase_if(connections_, [](const auto& connection) { return connection.expired(); });
      for (const auto& weak : connections_)
        if (const auto connection = weak.lock(); connection && connection->topic() == topic) connection->Send(text);
      shared_.pending_bytes -= size;
    });
  }

  int port() const { return port_; }
  const Shared& shared() const { return shared_; }

 private:
  void Serve() {
    while (!io_.stopped()) {
      try {
        io_.run();
      } catch (const std::exception&) {  // of a handler, or no memory: that connection ends, the others go on
      }
    }
  }

  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) {  // out of descriptors, mostly: later
        timer_.expires_after(std::chrono::milliseconds(100));
        timer_.async_wait([this](error_code stopped) {
          if (!stopped) Accept();
        });
        return;
      }
      if (shared_.connections < shared_.options.max_connections) {
        const auto connection = std::make_shared<Connection>(std::move(socket), shared_);
        std::erase_if(connections_, [](const auto& other) { return other.expired(); });
        connections_.push_back(connection);
        connection->Read();
      }
      Accept();
    });
  }

  Shared shared_;  // outlives io_, whose pending operations hold connections
  std::vector<std::weak_ptr<Connection>> connections_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer timer_{io_};
  int port_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(HttpRoutes routes, const HttpServerOptions& options) {
  try {
    auto impl = std::make_unique<Impl>(std::move(routes), options);
    MINKE_TRY(impl->Open());
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  } catch (const std::exception& e) {  // no descriptors, no threads
    return Fail(Code::kCannotListen, "127.0.0.1:{}: cannot listen: {}", options.port, e.what());
  }
}

int HttpServer::port() const { return impl_->port(); }
std::string HttpServer::url() const { return fmt::format("http://127.0.0.1:{}", port()); }
int HttpServer::num_stream_clients() const { return impl_->shared().stream_clients; }

void HttpServer::Publish(std::string_view path, std::string_view event, std::string_view data) {
  try {
    impl_->Publish(path, event, data);
  } catch (const std::exception&) {  // no memory: an event is lost, which clients have to live with anyway
  }
}

void HttpServer::Drain(int64_t timeout_ms) const {
  for (; timeout_ms > 0 && impl_->shared().pending_bytes > 0; timeout_ms -= 5)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

}  // namespace minke
