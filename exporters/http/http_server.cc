// The HTTP server: addresses in, requests to handlers, responses out.
#include "exporters/http/http_server.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <mutex>
#include <optional>
#include <set>

#include "exporters/http/access.h"
#include "exporters/http/blocked_signals.h"
#include "exporters/http/connection_watch.h"
#include "exporters/http/listen_socket.h"
#include "exporters/http/request_target.h"
#include "exporters/http/worker_pool.h"

namespace hotpath {
namespace {

constexpr size_t kConnectionMemoryBytes = 16 << 10;  // Request line, headers, response headers.
constexpr std::chrono::milliseconds kStopTimeout{900};

// One request, from its first line until its response is sent.
struct Exchange {
  std::string target;  // As sent.
  HttpRequest request;
  std::optional<HttpResponse> response;  // Written before `state` leaves kWorking.
  bool seen = false;                     // The headers are read.
  bool body_too_large = false;
  enum class State { kReading, kWorking, kReady, kAbandoned };
  std::atomic<State> state{State::kReading};
  uint64_t watch = 0;
  MHD_Connection* connection = nullptr;
};
using ExchangePtr = std::shared_ptr<Exchange>;

int SocketOf(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info == nullptr ? -1 : info->connect_fd;
}

MHD_Result AddHeader(void* cls, MHD_ValueKind, const char* key, const char* value) {
  std::string name(key);
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  });
  auto& headers = *static_cast<std::map<std::string, std::string>*>(cls);
  headers.try_emplace(std::move(name), value == nullptr ? "" : value);
  return MHD_YES;
}

MHD_Result Send(MHD_Connection* connection, HttpResponse response) {
  auto* body = new std::string(std::move(response.body));
  MHD_Response* raw = MHD_create_response_from_buffer_with_free_callback_cls(
      body->size(), body->data(), [](void* owned) { delete static_cast<std::string*>(owned); },
      body);
  if (raw == nullptr) {
    delete body;
    return MHD_NO;
  }
  MHD_add_response_header(raw, "Content-Type", response.content_type.c_str());
  for (const auto& [key, value] : response.headers) {
    MHD_add_response_header(raw, key.c_str(), value.c_str());
  }
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), raw);
  MHD_destroy_response(raw);
  return queued;
}

void LogMhd(void*, const char* format, va_list arguments) {
  std::array<char, 512> text;
  std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string_view line(text.data());
  while (line.ends_with('\n')) line.remove_suffix(1);
  spdlog::debug("http: {}", line);
}

}  // namespace

HttpResponse HttpError(std::string_view path, int status, std::string message) {
  HttpResponse response{.status = status, .headers = {}, .body = std::move(message)};
  response.body += '\n';
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  if (path.starts_with("/debug/pprof")) response.headers.emplace_back("X-Go-Pprof", "1");
  return response;
}

class HttpServer::Impl {
 public:
  Impl(HttpServerOptions options, std::vector<Route> routes)
      : options_(std::move(options)),
        routes_(std::move(routes)),
        watch_(options_.request_timeout),
        long_pool_(options_.max_long_requests),
        short_pool_(options_.max_short_requests) {
    std::ranges::sort(routes_, std::greater(), [](const Route& r) { return r.path.size(); });
  }
  ~Impl() { Stop(); }

  Result<void> Start() {
    if (options_.listen.empty() && options_.socket_path.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "listen: neither an address nor a socket is given");
    }
    if (!options_.token_file.empty()) {
      if (Result<void> loaded = ReloadToken(); !loaded) return loaded;
    }
    if (!options_.listen.empty()) {
      Result<TcpListener> tcp = ListenTcp(options_.listen);
      if (!tcp) return std::unexpected(tcp.error());
      if (!tcp->loopback && options_.token_file.empty()) {
        return Fail(ErrorCode::kInvalidArgument,
                    "listen " + options_.listen +
                        ": profiles show paths and symbols, so beyond loopback a secret is needed: "
                        "set token_file, or listen on 127.0.0.1");
      }
      tcp_ = {.server = this, .tcp = true, .check_host = tcp->loopback};
      port_ = tcp->port;
      if (Result<void> ran = Run(tcp_, tcp->socket.Release()); !ran) return ran;
    }
    if (!options_.socket_path.empty()) {
      Result<UnixListener> unix_socket = UnixListener::Listen(options_.socket_path);
      if (!unix_socket) return std::unexpected(unix_socket.error());
      unix_listener_.emplace(std::move(*unix_socket));
      unix_ = {.server = this};
      // libmicrohttpd closes its copy.
      const int copy = ::fcntl(unix_listener_->fd(), F_DUPFD_CLOEXEC, 0);
      if (copy < 0) return FailErrno("socket " + options_.socket_path + ": dup");
      if (Result<void> ran = Run(unix_, copy); !ran) return ran;
    }
    return {};
  }

  uint16_t port() const { return port_; }

  Result<void> ReloadToken() {
    if (options_.token_file.empty()) return {};
    Result<BearerToken> token = BearerToken::FromFile(options_.token_file);
    if (!token) return std::unexpected(token.error());
    const std::lock_guard lock(mutex_);
    token_ = std::make_shared<const BearerToken>(std::move(*token));
    return {};
  }

  void Stop() {
    std::vector<ExchangePtr> under_way;
    {
      std::unique_lock lock(mutex_);
      if (std::exchange(stopping_, true)) return;
      for (Endpoint* endpoint : {&tcp_, &unix_}) {
        if (endpoint->daemon == nullptr) continue;
        const int listener = MHD_quiesce_daemon(endpoint->daemon);
        if (listener >= 0) ::close(listener);
      }
      for (const ExchangePtr& exchange : under_way_) exchange->request.cancelled->store(true);
      finished_.wait_for(lock, kStopTimeout, [&] { return under_way_.empty(); });
      under_way.assign(under_way_.begin(), under_way_.end());
    }
    // libmicrohttpd must not be stopped with suspended connections.
    for (const ExchangePtr& exchange : under_way) Finish(exchange, Exchange::State::kAbandoned);
    for (Endpoint* endpoint : {&tcp_, &unix_}) {
      if (endpoint->daemon != nullptr) MHD_stop_daemon(std::exchange(endpoint->daemon, nullptr));
    }
    unix_listener_.reset();
    long_pool_.Join();
    short_pool_.Join();
  }

 private:
  // One listening socket and its epoll thread.
  struct Endpoint {
    Impl* server = nullptr;
    bool tcp = false;
    bool check_host = false;  // Against pages that rebind their name to loopback.
    MHD_Daemon* daemon = nullptr;
  };

  Result<void> Run(Endpoint& endpoint, int listener) {
    const BlockedSignals blocked;
    const auto per_ip =
        static_cast<unsigned>(endpoint.tcp ? options_.max_connections_per_ip : size_t{0});
    endpoint.daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, nullptr,
        nullptr, &Impl::OnRequest, &endpoint,          //
        MHD_OPTION_EXTERNAL_LOGGER, &LogMhd, nullptr,  //
        MHD_OPTION_LISTEN_SOCKET, listener,            //
        MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(options_.max_connections),
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_ip,  //
        MHD_OPTION_CONNECTION_TIMEOUT, static_cast<unsigned>(options_.request_timeout.count()),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemoryBytes,    //
        MHD_OPTION_URI_LOG_CALLBACK, &Impl::OnTarget, &endpoint,       //
        MHD_OPTION_NOTIFY_CONNECTION, &Impl::OnConnection, &endpoint,  //
        MHD_OPTION_NOTIFY_COMPLETED, &Impl::OnCompleted, &endpoint, MHD_OPTION_END);
    if (endpoint.daemon == nullptr) {
      ::close(listener);
      return Fail(ErrorCode::kSystem, "http: the server thread does not start");
    }
    return {};
  }

  // The request line is there. What it returns is *exchange in the callbacks after it.
  static void* OnTarget(void*, const char* target, MHD_Connection* connection) {
    auto exchange = std::make_shared<Exchange>();
    exchange->target = target;
    exchange->connection = connection;
    exchange->request.cancelled = std::make_shared<std::atomic<bool>>(false);
    return new ExchangePtr(std::move(exchange));
  }

  static void OnConnection(void* cls, MHD_Connection* connection, void**,
                           MHD_ConnectionNotificationCode code) {
    Impl* server = static_cast<Endpoint*>(cls)->server;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
      server->watch_.StartTimeout(connection, SocketOf(connection));
    } else {
      server->watch_.StopTimeout(connection);
    }
  }

  static void OnCompleted(void* cls, MHD_Connection* connection, void** slot,
                          MHD_RequestTerminationCode) {
    Impl* server = static_cast<Endpoint*>(cls)->server;
    auto* exchange = static_cast<ExchangePtr*>(*slot);
    if (exchange == nullptr) return;
    {
      const std::lock_guard lock(server->mutex_);
      server->under_way_.erase(*exchange);
    }
    server->finished_.notify_all();
    delete exchange;
    *slot = nullptr;
    // The next request of a connection that is kept has as long.
    server->watch_.StartTimeout(connection, SocketOf(connection));
  }

  // Called with the headers, with each part of the body, when it is complete, and when resumed.
  static MHD_Result OnRequest(void* cls, MHD_Connection* connection, const char*,
                              const char* method, const char*, const char* data, size_t* size,
                              void** slot) {
    auto* endpoint = static_cast<Endpoint*>(cls);
    if (*slot == nullptr) return MHD_NO;
    const ExchangePtr exchange = *static_cast<ExchangePtr*>(*slot);
    Impl* server = endpoint->server;
    if (!exchange->seen) {
      exchange->seen = true;
      exchange->request.method = method;
      MHD_get_connection_values(connection, MHD_HEADER_KIND, &AddHeader,
                                &exchange->request.headers);
      std::optional<HttpResponse> refusal = server->Refuse(*endpoint, *exchange);
      return refusal ? Send(connection, std::move(*refusal)) : MHD_YES;
    }
    if (*size > 0) {
      if (exchange->request.body.size() + *size > server->options_.max_body_bytes) {
        exchange->body_too_large = true;
      } else if (!exchange->body_too_large) {
        exchange->request.body.append(data, *size);
      }
      *size = 0;
      return MHD_YES;
    }
    switch (exchange->state.load()) {
      case Exchange::State::kReading:
        return server->Dispatch(exchange);
      case Exchange::State::kReady:
        return Send(connection, std::move(*exchange->response));
      case Exchange::State::kAbandoned:
        return Send(connection, HttpError(exchange->request.path, 503, "hotpathd is stopping"));
      case Exchange::State::kWorking:
        break;  // Not resumed by us: there is nothing to send yet.
    }
    return MHD_NO;
  }

  // What is wrong with a request before its body is read.
  std::optional<HttpResponse> Refuse(const Endpoint& endpoint, Exchange& exchange) {
    HttpRequest& request = exchange.request;
    const auto refuse = [&](int status, std::string message) {
      return HttpError(exchange.target, status, std::move(message));
    };
    Result<RequestTarget> target = ParseRequestTarget(exchange.target);
    if (!target) return refuse(400, target.error().message);
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    if (request.method != "GET" && request.method != "HEAD" && request.method != "POST") {
      HttpResponse response = refuse(405, request.method + ": only GET, HEAD and POST are known");
      response.headers.emplace_back("Allow", "GET, HEAD, POST");
      return response;
    }
    if (endpoint.check_host && !IsLoopbackHost(request.headers["host"])) {
      return refuse(403, "Host: only localhost, 127.0.0.1 and [::1] are served here");
    }
    if (endpoint.tcp && !options_.token_file.empty()) {
      std::shared_ptr<const BearerToken> token;
      {
        const std::lock_guard lock(mutex_);
        token = token_;
      }
      if (!token->Allows(request.headers["authorization"])) {
        HttpResponse response =
            refuse(401, "Authorization: send 'Bearer TOKEN' with the token of token_file");
        response.headers.emplace_back("WWW-Authenticate", "Bearer");
        return response;
      }
    }
    return std::nullopt;
  }

  const Route* FindRoute(const std::string& path) const {
    for (const Route& route : routes_) {
      if (route.path == path || (route.prefix && path.starts_with(route.path))) return &route;
    }
    return nullptr;
  }

  // Suspends the connection and hands the request to a thread, or answers at once why not.
  MHD_Result Dispatch(const ExchangePtr& exchange) {
    watch_.StopTimeout(exchange->connection);
    const HttpRequest& request = exchange->request;
    const auto refuse = [&](int status, std::string message) {
      return Send(exchange->connection, HttpError(request.path, status, std::move(message)));
    };
    if (exchange->body_too_large) return refuse(413, "the body is larger than 1 MiB");
    const Route* route = FindRoute(request.path);
    if (route == nullptr) return refuse(404, "404 page not found");
    {
      // Under the lock, so that Stop() finds it suspended or not at all.
      const std::lock_guard lock(mutex_);
      if (stopping_) return refuse(503, "hotpathd is stopping");
      under_way_.insert(exchange);
      exchange->state = Exchange::State::kWorking;
      exchange->watch = watch_.Watch(SocketOf(exchange->connection), request.cancelled);
      MHD_suspend_connection(exchange->connection);
    }
    WorkerPool& pool = route->long_running ? long_pool_ : short_pool_;
    const bool taken = pool.TryRun(
        [exchange, handler = route->handler] {
          exchange->response = Answer(*handler, exchange->request);
        },
        [this, exchange] { Finish(exchange, Exchange::State::kReady); });
    if (!taken) {
      HttpResponse busy =
          HttpError(request.path, 503, "hotpathd is busy: too many requests under way; try later");
      busy.headers.emplace_back("Retry-After", "5");
      exchange->response = std::move(busy);
      Finish(exchange, Exchange::State::kReady);
    }
    return MHD_YES;
  }

  static HttpResponse Answer(Handler& handler, const HttpRequest& request) {
    try {
      return handler.Handle(request);
    } catch (const std::exception& error) {
      spdlog::error("http: {} {}: {}", request.method, request.path, error.what());
      return HttpError(request.path, 500, "internal error");
    }
  }

  // Resumes the connection once, whoever comes first: the handler, or Stop().
  void Finish(const ExchangePtr& exchange, Exchange::State state) {
    Exchange::State working = Exchange::State::kWorking;
    // Until it is resumed the connection cannot close, nor its socket be another's.
    watch_.Forget(exchange->watch);
    const std::lock_guard lock(resume_mutex_);
    if (exchange->state.compare_exchange_strong(working, state)) {
      MHD_resume_connection(exchange->connection);
    }
  }

  const HttpServerOptions options_;
  std::vector<Route> routes_;  // Longest path first.
  ConnectionWatch watch_;
  WorkerPool long_pool_, short_pool_;
  std::mutex mutex_;
  std::condition_variable finished_;  // under_way_ became smaller.
  std::set<ExchangePtr> under_way_;   // Dispatched and not completely answered.
  std::shared_ptr<const BearerToken> token_;
  bool stopping_ = false;
  std::mutex resume_mutex_;  // Stop() must not pass a resume that has begun.
  uint16_t port_ = 0;
  std::optional<UnixListener> unix_listener_;
  Endpoint tcp_, unix_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options,
                                                      std::vector<Route> routes) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(routes));
  if (Result<void> started = impl->Start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->port(); }
Result<void> HttpServer::ReloadToken() { return impl_->ReloadToken(); }
void HttpServer::Stop() { impl_->Stop(); }

}  // namespace hotpath
