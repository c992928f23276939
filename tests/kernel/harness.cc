// Processes, pipes and CPU clocks around one run of `hotpath record`.
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace hotpath::kernel_tests {
namespace {

using Clock = std::chrono::steady_clock;

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

int64_t ReadClockNs(clockid_t clock) {
  timespec now{};
  if (clock_gettime(clock, &now) != 0) return -1;
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// user nice system idle iowait irq softirq steal, in ticks of USER_HZ.
int64_t MachineBusyNs() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  int64_t ticks[8] = {};
  stat >> cpu;
  for (int64_t& value : ticks) stat >> value;
  const int64_t busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
  return busy * (1'000'000'000 / sysconf(_SC_CLK_TCK));
}

// What the scheduler charged to all threads; nothing is sampled about it. -1: not mounted.
int64_t AllThreadsNs() {
  std::ifstream usage("/sys/fs/cgroup/cpuacct/cpuacct.usage");
  int64_t used_ns = -1;
  return usage >> used_ns ? used_ns : -1;
}

bool HasPerfEvents(pid_t pid) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (!error && target.string().find("perf_event") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::string WorkloadPath(const std::string& name) {
  return FromEnvironment("HOTPATH_WORKLOADS", HOTPATH_WORKLOADS_DIR) + "/" + name;
}
std::string WorkloadSource(const std::string& name) {
  return std::string(HOTPATH_SOURCE_DIR) + "/tests/workloads/" + name;
}
bool WorkloadExists(const std::string& name) { return std::filesystem::exists(WorkloadPath(name)); }

int64_t LineOf(const std::string& source, const std::string& text) {
  std::ifstream file(WorkloadSource(source));
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find(text) != std::string::npos) return number;
  }
  return -1;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "hotpath-kernel-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    ADD_FAILURE() << "mkdtemp " << name << ": " << std::strerror(errno);
    return;
  }
  path_ = name;
}
TemporaryDirectory::~TemporaryDirectory() {
  std::error_code error;
  if (!path_.empty()) std::filesystem::remove_all(path_, error);
}

ChildProcess::ChildProcess(std::vector<std::string> command, const Options& options) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe2: " << std::strerror(errno);
    return;
  }
  Fd child_stdin(in[0]), child_stdout(out[1]);
  stdin_ = Fd(in[1]);
  stdout_ = Fd(out[0]);
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);

  pid_ = fork();
  if (pid_ > 0) setpgid(pid_, pid_);  // Here and in the child: whoever comes first.
  if (pid_ < 0) {
    ADD_FAILURE() << "fork: " << std::strerror(errno);
    return;
  }
  if (pid_ == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(child_stdin.get(), STDIN_FILENO);
    dup2(child_stdout.get(), STDOUT_FILENO);
    if (!options.stderr_path.empty()) {
      const int file = open(options.stderr_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (file < 0) _exit(126);
      dup2(file, STDERR_FILENO);
    }
    if (options.discard_output) {
      const int null = open("/dev/null", O_WRONLY);
      if (null < 0) _exit(126);
      dup2(null, STDOUT_FILENO);
      dup2(null, STDERR_FILENO);
    }
    if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
    if (options.before_exec && !options.before_exec()) _exit(126);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
}

ChildProcess::~ChildProcess() { Stop(); }

std::string ChildProcess::ReadLine(std::chrono::seconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    if (const size_t end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd readable{.fd = stdout_.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || poll(&readable, 1, static_cast<int>(left.count())) <= 0) return "";
    char buffer[4096];
    const ssize_t got = read(stdout_.get(), buffer, sizeof buffer);
    if (got <= 0) return std::exchange(pending_, "");
    pending_.append(buffer, static_cast<size_t>(got));
  }
}

void ChildProcess::WriteLine(const std::string& line) {
  const std::string text = line + "\n";
  if (write(stdin_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    ADD_FAILURE() << "write to the child: " << std::strerror(errno);
  }
}

int ChildProcess::Wait(std::chrono::seconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (pid_ > 0) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (Clock::now() > deadline) {
      return -1;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return status_;
}

void ChildProcess::Stop() {
  if (pid_ <= 0) return;
  const pid_t group = pid_;
  kill(-group, SIGTERM);
  if (Wait(std::chrono::seconds(5)) >= 0) return;
  kill(-group, SIGKILL);
  Wait(std::chrono::seconds(5));
}

std::unique_ptr<ChildProcess> StartAndWaitReady(std::vector<std::string> command,
                                                const ChildProcess::Options& options) {
  const std::string name = command[0];
  auto child = std::make_unique<ChildProcess>(std::move(command), options);
  EXPECT_EQ(child->ReadLine(), "ready") << name << " did not start";
  return child;
}

std::unique_ptr<ChildProcess> StartWorkload(const std::string& name,
                                            const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {WorkloadPath(name)};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return StartAndWaitReady(command);
}

CpuTimeline::CpuTimeline(std::vector<pid_t> processes)
    : processes_(std::move(processes)), thread_([this] { Run(); }) {}

CpuTimeline::~CpuTimeline() { Stop(); }

void CpuTimeline::Stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void CpuTimeline::Run() {
  while (!stopping_) {
    const int64_t now_ns = ReadClockNs(CLOCK_REALTIME);
    busy_.push_back({now_ns, MachineBusyNs()});
    if (const int64_t used_ns = AllThreadsNs(); used_ns >= 0) threads_.push_back({now_ns, used_ns});
    for (const pid_t pid : processes_) {
      clockid_t clock{};
      if (clock_getcpuclockid(pid, &clock) != 0) continue;
      if (const int64_t used_ns = ReadClockNs(clock); used_ns >= 0) {
        process_[pid].push_back({now_ns, used_ns});
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int64_t CpuTimeline::Growth(const std::vector<Reading>& readings, int64_t from_ns, int64_t to_ns) {
  const auto at = [&](int64_t unix_ns) -> double {
    const auto after = std::ranges::lower_bound(readings, unix_ns, {}, &Reading::unix_ns);
    if (after == readings.begin()) return static_cast<double>(after->value_ns);
    if (after == readings.end()) return static_cast<double>(readings.back().value_ns);
    const auto before = after - 1;
    const double part = static_cast<double>(unix_ns - before->unix_ns) /
                        static_cast<double>(after->unix_ns - before->unix_ns);
    return static_cast<double>(before->value_ns) +
           part * static_cast<double>(after->value_ns - before->value_ns);
  };
  if (readings.empty()) return 0;
  return static_cast<int64_t>(at(to_ns) - at(from_ns));
}

int64_t CpuTimeline::ProcessNs(pid_t pid, int64_t from_ns, int64_t to_ns) const {
  const auto readings = process_.find(pid);
  return readings == process_.end() ? 0 : Growth(readings->second, from_ns, to_ns);
}

int64_t CpuTimeline::BusyNs(int64_t from_ns, int64_t to_ns) const {
  return Growth(busy_, from_ns, to_ns);
}

int64_t CpuTimeline::ThreadsNs(int64_t from_ns, int64_t to_ns) const {
  return Growth(threads_, from_ns, to_ns);
}

Recording Record(const RecordOptions& options) {
  Recording recording;
  const TemporaryDirectory directory;
  const std::string output = directory.File("profile.pb.gz");
  std::vector<std::string> command = {FromEnvironment("HOTPATH_BIN", HOTPATH_BINARY),
                                      "record",
                                      "-d",
                                      fmt::format("{}s", options.seconds),
                                      "-F",
                                      std::to_string(options.hz),
                                      "-o",
                                      output};
  for (const pid_t pid : options.pids) {
    command.emplace_back("-p");
    command.push_back(std::to_string(pid));
  }
  command.insert(command.end(), options.extra.begin(), options.extra.end());

  CpuTimeline timeline(options.pids);
  ChildProcess::Options child_options;
  child_options.stderr_path = directory.File("stderr");
  ChildProcess recorder(command, child_options);
  if (options.until_done) {
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    while (!HasPerfEvents(recorder.pid()) && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_LT(Clock::now(), deadline) << "the recorder opened no perf event";
    options.until_done();
    kill(recorder.pid(), SIGINT);
  }
  const auto limit = std::chrono::seconds(static_cast<int64_t>(options.seconds) + 60);
  const int status = recorder.Wait(limit);
  timeline.Stop();

  std::stringstream errors;
  errors << std::ifstream(child_options.stderr_path).rdbuf();
  if (status != 0) {
    throw std::runtime_error(
        fmt::format("{}: exit status {}\n{}", fmt::join(command, " "), status, errors.str()));
  }
  std::stringstream bytes;
  bytes << std::ifstream(output, std::ios::binary).rdbuf();
  auto profile = pprof::Decode(bytes.view());
  if (!profile) {
    throw std::runtime_error(
        fmt::format("{}: {}\n{}", output, profile.error().message, errors.str()));
  }
  if (const char* keep = std::getenv("HOTPATH_KEEP_PROFILES"); keep != nullptr) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::error_code error;
    std::filesystem::copy_file(
        output, fmt::format("{}/{}.{}.pb.gz", keep, test->test_suite_name(), test->name()),
        std::filesystem::copy_options::overwrite_existing, error);
  }
  recording.profile = std::move(*profile);
  recording.stacks = ReadStacks(recording.profile);
  const int64_t from_ns = recording.profile.time_ns;
  const int64_t to_ns = from_ns + recording.profile.duration_ns;
  recording.busy_ns = timeline.BusyNs(from_ns, to_ns);
  recording.threads_ns = timeline.ThreadsNs(from_ns, to_ns);
  for (const pid_t pid : options.pids) {
    recording.process_ns[pid] = timeline.ProcessNs(pid, from_ns, to_ns);
  }
  return recording;
}

Recording RecordProcess(pid_t pid, int hz, double seconds) {
  RecordOptions options;
  options.pids = {pid};
  options.hz = hz;
  options.seconds = seconds;
  return Record(options);
}

}  // namespace hotpath::kernel_tests
