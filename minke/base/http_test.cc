#include "minke/base/http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace minke {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Waits for `holds`, at most 5 s.
template <class F>
bool Eventually(F holds) {
  for (int i = 0; i < 500 && !holds(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return holds();
}

// A plain socket, for what no decent client or server does.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Socket() { Close(); }
  static Socket Connect(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in place = {};
    place.sin_family = AF_INET, place.sin_port = htons(static_cast<uint16_t>(port));
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&place), sizeof place), 0);
    return Socket(fd);
  }
  // Listening, on any port.
  static Socket Listen() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in place = {};
    place.sin_family = AF_INET, place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&place), sizeof place), 0);
    EXPECT_EQ(::listen(fd, 4), 0);
    return Socket(fd);
  }
  Socket Accept() const { return Socket(::accept(fd_, nullptr, nullptr)); }
  int port() const {
    sockaddr_in place = {};
    socklen_t size = sizeof place;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&place), &size);
    return ntohs(place.sin_port);
  }
  bool Send(std::string_view text) const {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Until `until` has come, or the end.
  std::string Receive(std::string_view until = "\x01never") const {
    std::string text;
    char buffer[4096];
    while (text.find(until) == text.npos) {
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

std::unique_ptr<HttpServer> Serve(HttpRoutes routes, HttpServerOptions options = {}) {
  auto server = HttpServer::Listen(std::move(routes), options);
  EXPECT_TRUE(server) << (server ? "" : server.error().message);
  return std::move(*server);
}

HttpRoutes Echo() {
  HttpRoutes routes;
  routes.handlers["POST /echo"] = [](const HttpRequest& request) {
    std::string key;
    for (const HttpHeader& header : request.headers)
      if (header.name == "X-Key") key = header.value;
    return HttpAnswer{201, "application/json", request.query + "|" + key + "|" + request.body};
  };
  routes.handlers["GET /away"] = [](const HttpRequest&) { return HttpAnswer{302, "text/plain", "elsewhere"}; };
  routes.handlers["GET /large"] = [](const HttpRequest&) {
    return HttpAnswer{200, "text/plain", std::string(5000, 'x')};
  };
  routes.handlers["GET /throws"] = [](const HttpRequest&) -> HttpAnswer { throw std::runtime_error("oh"); };
  routes.streams.insert("/events");
  return routes;
}

// The error of a call that must fail.
Error ErrorOf(const HttpCall& call) {
  const auto reply = SendHttp(call);
  EXPECT_FALSE(reply);
  return reply ? Error{} : reply.error();
}

TEST(Http, AnswersCarryStatusHeadersAndBody) {
  const auto server = Serve(Echo());
  const auto reply = SendHttp(
      {.method = "POST", .url = server->url() + "/echo?a=1#part", .headers = {{"X-Key", "k"}}, .body = "hello"});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 201);
  EXPECT_EQ(reply->body, "a=1|k|hello");
  EXPECT_EQ(reply->Header("content-type"), "application/json");
  EXPECT_EQ(SendHttp({.url = server->url() + "/none"})->status, 404);
  EXPECT_EQ(SendHttp({.url = server->url() + "/echo"})->status, 405);
  EXPECT_EQ(SendHttp({.url = server->url() + "/away"})->status, 302);  // not followed
  EXPECT_EQ(SendHttp({.url = fmt::format("http://localhost:{}/large", server->port())})->body.size(), 5000u);
}

TEST(Http, BadUrlsAndHeadersAreRefusedWithoutShowingSecrets) {
  for (const char* url : {"", "ftp://h/", "http://", "http://h:0/", "http://h:99999/", "http://h:x/", "http://[::1/",
                          "http://h/a b", "http://h/\r\nX: y", "http://me:secret@h/?key=secret"}) {
    const Error error = ErrorOf({.url = url});
    EXPECT_EQ(error.code, Code::kInvalidArgument) << url;
    EXPECT_EQ(error.message.find("secret"), std::string::npos) << error.message;
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
  }
  const Error error = ErrorOf({.url = "http://127.0.0.1/", .headers = {{"Authorization", "Bearer secret\n"}}});
  EXPECT_EQ(error.code, Code::kInvalidArgument);
  EXPECT_NE(error.message.find("Authorization"), std::string::npos);
  EXPECT_EQ(error.message.find("secret"), std::string::npos);
  EXPECT_EQ(PublicUrl("https://a:b@host:1/v1?key=c#d"), "https://host:1/v1");
}

TEST(Http, ARefusedPortAndAnUnknownHostAreNetworkErrors) {
  int port = 0;
  {
    const Socket closed = Socket::Listen();
    port = closed.port();
  }
  const Error error = ErrorOf({.url = fmt::format("http://127.0.0.1:{}/", port)});
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("refused"), std::string::npos) << error.message;
  EXPECT_EQ(ErrorOf({.url = "http://no-such-host.invalid/", .timeout_ms = 5000}).code, Code::kNetwork);
}

TEST(Http, OneDeadlineCoversTheWholeAnswer) {
  const Socket listening = Socket::Listen();
  std::thread trickle([&] {  // a byte at a time never ends
    const Socket client = listening.Accept();
    client.Receive("\r\n\r\n");
    client.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    while (client.Send("x")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  const auto start = Clock::now();
  const Error error = ErrorOf({.url = fmt::format("http://127.0.0.1:{}/", listening.port()), .timeout_ms = 150});
  trickle.join();
  EXPECT_EQ(error.code, Code::kNetwork);
  EXPECT_NE(error.message.find("150 ms"), std::string::npos) << error.message;
  EXPECT_GE(SecondsSince(start), 0.15);
  EXPECT_LT(SecondsSince(start), 3);
}

TEST(Http, ACallThatIsGivenUpWaitsNoLonger) {
  const Socket listening = Socket::Listen();  // never answers
  const auto start = Clock::now();
  const Error error =
      ErrorOf({.url = fmt::format("http://127.0.0.1:{}/", listening.port()), .timeout_ms = 20'000, .cancelled = [&] {
                 return SecondsSince(start) > 0.1;
               }});
  EXPECT_EQ(error.code, Code::kCancelled);
  EXPECT_LT(SecondsSince(start), 2);
}

TEST(Http, ALongOrBrokenAnswerIsAnError) {
  const auto server = Serve(Echo());
  EXPECT_NE(ErrorOf({.url = server->url() + "/large", .max_body_bytes = 4999}).message.find("longer than 4999 bytes"),
            std::string::npos);
  EXPECT_TRUE(SendHttp({.url = server->url() + "/large", .max_body_bytes = 5000}));
  EXPECT_EQ(ErrorOf({.url = server->url() + "/throws", .timeout_ms = 1000}).code, Code::kNetwork);
  EXPECT_TRUE(SendHttp({.url = server->url() + "/large"}));  // it goes on
  for (const char* answer : {"SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", ""}) {
    const Socket listening = Socket::Listen();
    std::thread broken([&] {
      const Socket client = listening.Accept();
      client.Receive("\r\n\r\n");
      client.Send(answer);
    });
    EXPECT_EQ(ErrorOf({.url = fmt::format("http://127.0.0.1:{}/", listening.port())}).code, Code::kNetwork) << answer;
    broken.join();
  }
}

TEST(Http, APlainServerIsNoTlsServer) {
  const auto server = Serve(Echo());
  const Error error = ErrorOf({.url = fmt::format("https://127.0.0.1:{}/large", server->port()), .timeout_ms = 2000});
  EXPECT_TRUE(error.code == Code::kNetwork || error.code == Code::kUnsupported) << error.message;
}

TEST(HttpServer, BadRequestsAreRefused) {
  const auto server = Serve(Echo(), {.max_body_bytes = 10});
  const auto answer = [&](std::string_view request) {
    const Socket client = Socket::Connect(server->port());
    client.Send(request);
    return client.Receive("\r\n\r\n").substr(0, 12);
  };
  EXPECT_EQ(answer("GET /large HTTP/1.1\r\nHost: localhost:1\r\n\r\n"), "HTTP/1.1 200");
  EXPECT_EQ(answer("GET /large HTTP/1.1\r\nHost: evil.example\r\n\r\n"), "HTTP/1.1 403");
  EXPECT_EQ(answer("GET /large HTTP/1.1\r\n\r\n"), "HTTP/1.1 403");
  EXPECT_EQ(answer("nonsense\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(answer("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(40000, 'x') + "\r\n\r\n"), "HTTP/1.1 431");
  const std::string_view post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
  EXPECT_EQ(answer(fmt::format("{}10\r\n\r\n0123456789", post)), "HTTP/1.1 201");
  EXPECT_EQ(answer(fmt::format("{}11\r\n\r\n", post)), "HTTP/1.1 413");
}

TEST(HttpServer, APortInUseIsAnError) {
  const auto server = Serve({});
  const auto second = HttpServer::Listen({}, {.port = server->port()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kCannotListen);
}

TEST(HttpServer, EventsReachEveryClientOfTheirStream) {
  const auto server = Serve(Echo());
  const Socket one = Socket::Connect(server->port()), two = Socket::Connect(server->port());
  for (const Socket* client : {&one, &two}) client->Send("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  ASSERT_TRUE(Eventually([&] { return server->num_stream_clients() == 2; }));
  server->Publish("/other", "", "unseen");
  server->Publish("/events", "line", "a\nb");
  for (const Socket* client : {&one, &two}) {
    const std::string text = client->Receive("b\n\n");
    EXPECT_NE(text.find("Content-Type: text/event-stream"), std::string::npos);
    EXPECT_TRUE(text.ends_with("event: line\ndata: a\ndata: b\n\n")) << text;
    EXPECT_EQ(text.find("unseen"), std::string::npos);
  }
}

TEST(HttpServer, AClientThatGoesOrDoesNotReadIsDropped) {
  const auto server = Serve(Echo(), {.max_pending_bytes = 1 << 16});
  Socket gone = Socket::Connect(server->port());
  const Socket slow = Socket::Connect(server->port());
  for (const Socket* client : {&std::as_const(gone), &slow})
    client->Send("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  ASSERT_TRUE(Eventually([&] { return server->num_stream_clients() == 2; }));
  gone.Close();
  EXPECT_TRUE(Eventually([&] { return server->num_stream_clients() == 1; }));
  const std::string large(1 << 15, 'x');
  const auto start = Clock::now();
  for (int i = 0; i < 1000; ++i) server->Publish("/events", "", large);  // more than any socket's buffers
  EXPECT_LT(SecondsSince(start), 2);                                     // nobody waited
  EXPECT_TRUE(Eventually([&] { return server->num_stream_clients() == 0; }));
  server->Drain(1000);
  EXPECT_EQ(SendHttp({.url = server->url() + "/large"})->status, 200);
}

TEST(HttpServer, MoreConnectionsThanAllowedAreClosed) {
  const auto server = Serve(Echo(), {.max_connections = 1});
  const Socket first = Socket::Connect(server->port());
  first.Send("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  ASSERT_TRUE(Eventually([&] { return server->num_stream_clients() == 1; }));
  const auto start = Clock::now();
  EXPECT_EQ(Socket::Connect(server->port()).Receive(), "");
  EXPECT_LT(SecondsSince(start), 5);  // not by a time-out
}

TEST(HttpServer, EndsWhileClientsAreConnectedAndThreadsPublish) {
  auto server = Serve(Echo());
  const Socket client = Socket::Connect(server->port()), silent = Socket::Connect(server->port());
  client.Send("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
  ASSERT_TRUE(Eventually([&] { return server->num_stream_clients() == 1; }));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) server->Publish("/events", "", "x");
    });
  for (std::thread& thread : threads) thread.join();
  const auto start = Clock::now();
  server.reset();
  EXPECT_LT(SecondsSince(start), 2);
  EXPECT_NE(client.Receive(), "");
  EXPECT_EQ(silent.Receive(), "");
}

}  // namespace
}  // namespace minke
