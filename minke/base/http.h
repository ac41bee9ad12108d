// HTTP/1.1, the one door to the network: a client for one request at a time and a small server on loopback. The
// library (Boost.Beast and OpenSSL) is seen by http_client.cc and http_server.cc only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"

namespace minke {

struct HttpHeader {
  std::string name, value;
};

struct HttpCall {
  std::string method = "GET";
  std::string url;  // http or https; a name, IPv4 address or [IPv6 address]; no user:password@
  std::vector<HttpHeader> headers = {};
  std::string body = {};
  int64_t timeout_ms = 30'000;                 // for everything: name, connection, handshake, request and answer
  int64_t max_body_bytes = int64_t{16} << 20;  // of the answer
  std::function<bool()> cancelled = {};        // asked ten times a second while the call waits, by its thread
};

struct HttpReply {
  int status = 0;  // any: 404 and 302 are replies, not errors, and no redirect is followed
  std::vector<HttpHeader> headers;
  std::string body;

  std::string_view Header(std::string_view name) const;  // of any case; "" without it
};

// Sends one request over its own connection and waits for the whole answer. Any thread; no proxy; certificates are
// checked by the system's list. Errors: kInvalidArgument for a url or header that cannot be sent, kCancelled
// where `cancelled` says so, kNetwork for the rest; the message names the url without credentials, query and fragment.
// https is kUnsupported in a build without OpenSSL.
Result<HttpReply> SendHttp(const HttpCall& call);

// `url` as messages may show it.
std::string PublicUrl(std::string_view url);

struct HttpRequest {
  std::string method, path, query;  // path and query as sent, without the '?'
  std::vector<HttpHeader> headers;
  std::string body;
};

struct HttpAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

using HttpHandler = std::function<HttpAnswer(const HttpRequest&)>;

struct HttpRoutes {
  std::map<std::string, HttpHandler> handlers = {};  // by "GET /path"
  std::set<std::string> streams = {};                // paths of Server-Sent Events
};

struct HttpServerOptions {
  int port = 0;  // 0: any that is free
  int64_t max_body_bytes = int64_t{1} << 20;
  int max_connections = 64;                      // one more is closed at once
  int64_t max_pending_bytes = int64_t{1} << 20;  // of events that a client has not taken; then it is dropped
  int64_t timeout_ms = 15'000;                   // for one request to arrive, and for a write to move
};

// Listens on 127.0.0.1 with one thread of its own, which calls the handlers: they must be quick. A request whose Host
// is not this machine is refused, so that no web page reaches it by a name of its own.
class HttpServer {
 public:
  // Errors: kCannotListen.
  static Result<std::unique_ptr<HttpServer>> Listen(HttpRoutes routes, const HttpServerOptions& options = {});
  ~HttpServer();  // closes all connections; any thread but the server's

  int port() const;
  std::string url() const;  // "http://127.0.0.1:PORT"

  // Sends an event to all clients of the stream; never waits for one. Any thread. `event` may be "".
  void Publish(std::string_view path, std::string_view event, std::string_view data);
  int num_stream_clients() const;
  // Waits until clients have taken what was published, at most so long.
  void Drain(int64_t timeout_ms) const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace minke
