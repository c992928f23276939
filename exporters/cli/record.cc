// The in-process pipeline behind `hotpath record`.
#include "exporters/cli/record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/options.h"
#include "daemon/pipeline.h"
#include "exporters/pprof/from_window.h"

namespace hotpath::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::hours kUntilTheCommandEnds{24};
constexpr auto kProgressEvery = 250ms;

std::atomic<bool> interrupted{false};  // Set by the signal handler; there is one record a process.
static_assert(std::atomic<bool>::is_always_lock_free);

void OnInterrupt(int) { interrupted = true; }

int Complain(const std::string& message) {
  fmt::print(stderr, "hotpath: {}\n", message);
  return 1;
}

// A command that waits, started but not running, until Release().
class Command {
 public:
  static Result<Command> Start(const std::vector<std::string>& arguments) {
    int gate[2];
    int failure[2];
    if (pipe2(gate, O_CLOEXEC) != 0 || pipe2(failure, O_CLOEXEC) != 0) return FailErrno("pipe");
    Command command;
    command.failure_.Reset(failure[0]);
    command.gate_.Reset(gate[1]);
    const Fd child_gate(gate[0]);
    const Fd child_failure(failure[1]);
    command.pid_ = fork();
    if (command.pid_ < 0) return FailErrno("fork");
    if (command.pid_ == 0) RunChild(arguments, child_gate.get(), child_failure.get(), gate[1]);
    return command;
  }
  // Lets it run. Errors: the exec's (kNotFound for a command that is not there).
  Result<void> Release() {
    gate_.Reset();
    int error_number = 0;
    if (read(failure_.get(), &error_number, sizeof(error_number)) == sizeof(error_number)) {
      Wait();
      return FailErrno("run the command", error_number);
    }
    return {};
  }
  // Its exit status as a shell gives it.
  int Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  uint32_t pid() const { return static_cast<uint32_t>(pid_); }

 private:
  [[noreturn]] static void RunChild(const std::vector<std::string>& arguments, int gate,
                                    int failure, int parents_gate) {
    close(parents_gate);
    signal(SIGINT, SIG_DFL);
    char released = 0;
    if (read(gate, &released, 1) < 0) _exit(127);
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    const int error_number = errno;
    [[maybe_unused]] const ssize_t written = write(failure, &error_number, sizeof(error_number));
    _exit(127);
  }

  pid_t pid_ = -1;
  Fd gate_;     // Closed: the command runs.
  Fd failure_;  // errno of a failed exec; closed by one that succeeds.
};

// "recording 3.2 s of 10 s" on a terminal, rewritten in place, until it is destroyed.
class Progress {
 public:
  Progress(bool shown, std::optional<std::chrono::nanoseconds> total) {
    if (!shown) return;
    thread_ = std::jthread([total](const std::stop_token& stop) {
      const auto begin = std::chrono::steady_clock::now();
      while (!stop.stop_requested()) {
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
        const std::string of =
            total ? fmt::format(" of {:g} s", std::chrono::duration<double>(*total).count()) : "";
        fmt::print(stderr, "\rrecording {:.1f} s{}  (Ctrl-C ends it and keeps what there is) ",
                   passed.count(), of);
        std::this_thread::sleep_for(kProgressEvery);
      }
      fmt::print(stderr, "\r\033[K");
    });
  }

 private:
  std::jthread thread_;
};

Result<void> WriteProfile(const std::string& path, const std::string& bytes) {
  Fd file;
  if (path != "-") file.Reset(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  const int fd = path == "-" ? STDOUT_FILENO : file.get();
  if (fd < 0) return FailErrno("open " + path);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FailErrno("write " + path);
    at += static_cast<size_t>(n);
  }
  return {};
}

CaptureRequest RequestOf(const RecordOptions& options) {
  CaptureRequest request;
  request.type = options.type;
  request.hz = options.hz;
  request.duration = options.duration.value_or(kUntilTheCommandEnds);
  request.filter = {.pids = options.pids,
                    .descendants = false,
                    .comm = options.comm,
                    .exe = options.exe,
                    .cgroup = options.cgroup};
  return request;
}

}  // namespace

int Record(const RecordOptions& options) {
  auto logger = std::make_shared<spdlog::logger>("hotpath",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(options.quiet ? spdlog::level::err : spdlog::level::warn);
  logger->set_pattern("hotpath: %v");
  spdlog::set_default_logger(std::move(logger));
  struct sigaction action{};
  action.sa_handler = OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  Result<std::unique_ptr<Pipeline>> pipeline = Pipeline::Start({.always_on_hz = 0,
                                                                .ring_bytes = options.ring_bytes,
                                                                .max_files = options.max_files,
                                                                .state_dir = ""});
  if (!pipeline) return Complain(pipeline.error().message);
  CaptureRequest request = RequestOf(options);
  (*pipeline)->WarmUp(request.filter);
  std::optional<Command> command;
  std::promise<void> started;
  request.on_started = [&started] { started.set_value(); };
  if (!options.command.empty()) {
    Result<Command> waiting = Command::Start(options.command);
    if (!waiting) return Complain(waiting.error().message);
    command = std::move(*waiting);
    request.filter.pids = {command->pid()};
    request.filter.descendants = true;
  }
  auto capture =
      std::async(std::launch::async, [&] { return (*pipeline)->Capture(request, interrupted); });
  int exit_code = 0;
  std::optional<Progress> progress;
  progress.emplace(!options.quiet && isatty(STDERR_FILENO) != 0, options.duration);
  if (command) {
    std::future<void> running = started.get_future();
    while (running.wait_for(10ms) != std::future_status::ready &&
           capture.wait_for(0ms) != std::future_status::ready) {
    }
    if (Result<void> released = command->Release(); !released) {
      interrupted = true;
      capture.wait();
      progress.reset();
      return Complain(options.command.front() + ": " + released.error().message);
    }
    exit_code = command->Wait();
    interrupted = true;
  }
  const Result<std::unique_ptr<Window>> window = capture.get();
  progress.reset();
  if (!window) return Complain(window.error().message);

  utsname names{};
  uname(&names);
  const pprof::Profile profile =
      pprof::FromWindow(**window, (*pipeline)->symbolizer(),
                        {.host = names.nodename, .kernel = names.release, .version = kVersion});
  if (Result<void> written = WriteProfile(options.output, pprof::EncodeGzip(profile)); !written) {
    return Complain(written.error().message);
  }
  if (!options.quiet) {
    size_t samples = 0;
    for (const WindowRow& row : (*window)->rows) samples += row.samples;
    fmt::print(stderr, "{} samples in {:.1f} s -> {}   (hotpath top {})\n", samples,
               static_cast<double>((*window)->duration_ns) / 1e9, options.output, options.output);
  }
  return exit_code;
}

}  // namespace hotpath::cli
