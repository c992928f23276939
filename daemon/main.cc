// hotpathd: options -> parts -> pipeline and server -> wait for a signal.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "daemon/files/file_worker.h"
#include "daemon/options.h"
#include "daemon/pipeline.h"
#include "exporters/api/probe_switch.h"
#include "exporters/api/report_handlers.h"
#include "exporters/http/health.h"
#include "exporters/http/http_server.h"
#include "exporters/pprof/from_window.h"
#include "exporters/pprof/handlers.h"
#include "exporters/pprof/profile_query.h"
#include "exporters/prometheus/metrics.h"
#include "exporters/prometheus/process_metrics.h"

namespace hotpath {
namespace {

// hotpathd_build_info, the one series that says which version runs.
class BuildInfo : public MetricsSource {
 public:
  std::vector<MetricFamily> Collect() override {
    return {{.name = "hotpathd_build_info",
             .help = "1, with the version that runs as a label.",
             .type = MetricFamily::Type::kGauge,
             .samples = {{.labels = {{"version", kVersion}}, .value = 1}}}};
  }
};

void SetUpLog(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("hotpathd",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::from_str(level));
  // Under systemd the journal adds the time, and reads the priority from "<N>".
  logger->set_pattern(getenv("JOURNAL_STREAM") != nullptr ? "%l: %v" : "%Y-%m-%dT%H:%M:%S %l: %v");
  spdlog::set_default_logger(std::move(logger));
}

sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

pprof::ProfileContext Here() {
  utsname names{};
  uname(&names);
  return {.host = names.nodename, .kernel = names.release, .version = kVersion};
}

// The folders that the defaults name; where they cannot be made, what needs them says so.
void MakeFolders(const Options& options) {
  std::error_code ignored;
  if (!options.state_dir.empty()) std::filesystem::create_directories(options.state_dir, ignored);
  if (const auto folder = std::filesystem::path(options.socket).parent_path(); !folder.empty()) {
    std::filesystem::create_directories(folder, ignored);
  }
}

// The capture that /api/v1 reports on; its other parameters are the report's own.
api::CaptureProfile CaptureFor(const std::shared_ptr<Pipeline>& pipeline) {
  return [pipeline](const HttpRequest& request) -> Result<pprof::Profile> {
    constexpr std::array<std::string_view, 6> kCaptures = {"seconds", "hz",  "pid",
                                                           "comm",    "exe", "cgroup"};
    std::vector<std::pair<std::string, std::string>> query;
    for (const auto& parameter : request.query) {
      if (std::ranges::find(kCaptures, parameter.first) != kCaptures.end()) {
        query.push_back(parameter);
      }
    }
    Result<pprof::ProfileQuery> parsed = pprof::ParseProfileQuery(query);
    if (!parsed) return std::unexpected(parsed.error());
    parsed->request.type = request.Query("type").value_or("cpu");
    const std::atomic<bool> never{false};
    const Result<std::unique_ptr<Window>> window =
        pipeline->Capture(parsed->request, request.cancelled ? *request.cancelled : never);
    if (!window) return std::unexpected(window.error());
    return pprof::FromWindow(**window, pipeline->symbolizer(), Here(), parsed->matches);
  };
}

int Complain(const Error& error) {
  fmt::print(stderr, "hotpathd: {}\n", error.message);
  return 1;
}

int Run(const Options& options, const std::vector<std::string>& arguments) {
  const sigset_t signals = BlockSignals();
  MakeFolders(options);
  std::string state_dir = options.state_dir;
  if (!state_dir.empty() && access(state_dir.c_str(), W_OK) != 0) {
    spdlog::warn("{}: not writable: symbol indices are kept in memory", state_dir);
    state_dir.clear();
  }
  Result<std::unique_ptr<Pipeline>> started =
      Pipeline::Start({.always_on_hz = options.frequency_hz,
                       .ring_bytes = options.ring_bytes,
                       .memory_limit_bytes = options.memory_limit_bytes,
                       .cpu_budget_ratio = options.cpu_budget_ratio,
                       .allocs_allowed = options.alloc && options.alloc_budget_ratio > 0,
                       .state_dir = state_dir});
  if (!started) return Complain(started.error());
  const std::shared_ptr<Pipeline> pipeline = std::move(*started);

  const auto health = std::make_shared<HealthHandler>();
  const auto ready = std::make_shared<HealthHandler>([pipeline] { return pipeline->Ready(); });
  const auto index = std::make_shared<pprof::PprofHandler>(pipeline->symbolizer(), arguments);
  const auto metrics = std::make_shared<Metrics>(std::vector<std::shared_ptr<MetricsSource>>{
      pipeline, std::make_shared<BuildInfo>(), std::make_shared<ProcessMetrics>()});
  const std::shared_ptr<Handler> top = api::TopHandler(CaptureFor(pipeline));
  const std::shared_ptr<Handler> quality = api::QualityHandler(CaptureFor(pipeline));
  const std::shared_ptr<Handler> diff = api::DiffHandler(CaptureFor(pipeline));
  std::vector<Route> routes = {
      {.path = "/healthz", .handler = health},
      {.path = "/readyz", .handler = ready},
      {.path = "/metrics", .handler = metrics},
      {.path = "/api/v1/top", .long_running = true, .handler = top},
      {.path = "/api/v1/quality", .long_running = true, .handler = quality},
      {.path = "/api/v1/diff", .long_running = true, .handler = diff},
      {.path = "/api/v1/probes",
       .prefix = true,
       .handler = api::ProbeSwitchHandler([pipeline](bool on) { pipeline->SetProbesEnabled(on); })},
      {.path = "/debug/pprof", .prefix = true, .handler = index}};
  for (const ProfileType& type : ProfileTypes(1)) {
    routes.push_back({.path = "/debug/pprof/" + type.endpoint,
                      .long_running = true,
                      .handler = std::make_shared<pprof::ProfileHandler>(
                          *pipeline, pipeline->symbolizer(), Here(), type.name)});
  }
  Result<std::unique_ptr<HttpServer>> server = HttpServer::Start(
      {.listen = options.listen, .socket_path = options.socket, .token_file = options.token_file},
      std::move(routes));
  if (!server) return Complain(server.error());
  spdlog::info("sampling at {} Hz; listening on {}{}", options.frequency_hz,
               options.listen.empty() ? "" : fmt::format("port {} and ", (*server)->port()),
               options.socket.empty() ? "no socket" : options.socket);

  for (int signal = 0; signal != SIGTERM && signal != SIGINT;) {
    if (sigwait(&signals, &signal) != 0) break;
    if (signal == SIGUSR2) {
      pipeline->SetProbesEnabled(false);
      spdlog::warn("SIGUSR2: no probe is in place, until POST /api/v1/probes/on");
    }
    if (signal != SIGHUP) continue;
    if (Result<void> reloaded = (*server)->ReloadToken(); !reloaded) {
      spdlog::error("SIGHUP: the old token stays: {}", reloaded.error().message);
    }
  }
  spdlog::info("stopping");
  pipeline->EndCaptures();
  (*server)->Stop();
  return 0;
}

}  // namespace
}  // namespace hotpath

int main(int argc, char** argv) {
  hotpath::FileWorker::RunChildIfAsked(argc, argv);
  int exit_status = -1;
  const hotpath::Result<hotpath::Options> options = hotpath::ParseOptions(argc, argv, &exit_status);
  if (!options) {
    fmt::print(stderr, "hotpathd: {}\n", options.error().message);
    return exit_status >= 0 ? exit_status : 1;
  }
  if (exit_status >= 0) return exit_status;
  if (options->check_config) {
    fmt::print("ok\n");
    return 0;
  }
  hotpath::SetUpLog(options->log_level);
  return hotpath::Run(*options, std::vector<std::string>(argv, argv + argc));
}
