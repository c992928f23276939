// Starts the child with posix_spawn (no fork of a large daemon) and polls for its answer.
#include "daemon/files/worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <thread>

namespace hotpath {
namespace {

// How long to wait for a child that may not be killed (it has another user, and we no CAP_KILL).
constexpr int kReapAttempts = 100;
constexpr std::chrono::milliseconds kReapPause{1};

std::string StatusText(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return fmt::format("was killed by signal {} ({})", signal, strsignal(signal));
  }
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

// posix_spawn's two argument objects, destroyed together.
class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // Returns an errno.
  int Run(pid_t* pid, const std::string& program, int socket) {
    posix_spawn_file_actions_adddup2(&actions_, socket, kWorkerSocket);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", O_RDWR, 0);
    }
    posix_spawn_file_actions_addclosefrom_np(&actions_, kWorkerSocket + 1);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    std::string name = "hotpath-files";
    std::string argument = FileWorker::kChildArgument;
    std::array<char*, 3> arguments{name.data(), argument.data(), nullptr};
    std::array<char*, 1> environment{nullptr};
    return posix_spawn(pid, program.c_str(), &actions_, &attributes_, arguments.data(),
                       environment.data());
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace

Result<void> WorkerProcess::Start() {
  std::array<int, 2> ends{-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return FailErrno("socketpair for the file worker");
  }
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  pid_t pid = -1;
  if (const int error = SpawnPlan().Run(&pid, program_, theirs.get()); error != 0) {
    return Fail(ErrorCode::kSystem,
                fmt::format("start file worker {}: {}", program_, std::strerror(error)));
  }
  pid_ = pid;
  socket_ = std::move(ours);
  fresh_ = true;
  ++counters_->children_started;
  auto greeted =
      SendDatagram(socket_.get(), {reinterpret_cast<const uint8_t*>(&hello_), sizeof hello_}, {});
  // That a child is gone already shows, with its status, when the request is sent.
  if (!greeted && greeted.error().code != ErrorCode::kUnavailable) return greeted;
  return {};
}

std::string WorkerProcess::End(bool* clean) {
  socket_.Reset();
  const pid_t pid = pid_.exchange(-1);
  if (pid < 0) return {};
  // One that is on its way out keeps the status it has.
  const bool may_not = kill(pid, SIGKILL) != 0 && errno == EPERM;
  int status = 0;
  pid_t reaped = 0;
  for (int attempt = 0; attempt < kReapAttempts; ++attempt) {
    reaped = waitpid(pid, &status, may_not ? WNOHANG : 0);
    if (reaped == pid || (reaped < 0 && errno != EINTR)) break;
    if (may_not) std::this_thread::sleep_for(kReapPause);
  }
  if (reaped != pid) return {};
  if (clean != nullptr) *clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return StatusText(status);
}

Result<WorkerReply> WorkerProcess::Await(Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd wait{socket_.get(), POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return FailErrno("poll the file worker");
    if (ready == 0) return Fail(ErrorCode::kTimeout, "");
    WorkerReply reply;
    auto fds = ReceiveDatagram(socket_.get(), {reinterpret_cast<uint8_t*>(&reply), sizeof reply});
    if (!fds) return std::unexpected(fds.error());
    return reply;
  }
}

Result<WorkerReply> WorkerProcess::Exchange(WorkerRequest request, std::span<const int> fds,
                                            std::chrono::milliseconds timeout) {
  const std::lock_guard lock(mutex_);
  request.limit_seconds =
      std::chrono::ceil<std::chrono::seconds>(timeout).count() + 2;  // Ours comes first.
  const auto deadline = Clock::now() + timeout;
  if (pid_ >= 0 && Clock::now() - last_sent_ > kChildStale) End();
  for (;;) {
    if (pid_ < 0) {
      if (auto started = Start(); !started) return std::unexpected(started.error());
    }
    last_sent_ = Clock::now();
    auto sent = SendDatagram(socket_.get(),
                             {reinterpret_cast<const uint8_t*>(&request), sizeof request}, fds);
    // A child that could not box itself in has said so before it left.
    auto reply = sent || sent.error().code == ErrorCode::kUnavailable
                     ? Await(deadline)
                     : Result<WorkerReply>(std::unexpected(sent.error()));
    if (!reply) {
      const bool was_fresh = fresh_;
      bool left_on_its_own = false;
      const std::string fate = End(&left_on_its_own);
      // Asked in the moment in which it left for want of work: not the file's fault.
      if (reply.error().code == ErrorCode::kUnavailable && left_on_its_own && !was_fresh) continue;
      ++counters_->children_died;
      if (reply.error().code == ErrorCode::kTimeout) {
        return Fail(ErrorCode::kTimeout, fmt::format("the file worker took longer than {} ms and "
                                                     "was ended",
                                                     timeout.count()));
      }
      if (reply.error().code == ErrorCode::kUnavailable) {
        return Fail(
            ErrorCode::kUnavailable,
            fmt::format("the file worker {} while it read the file", fate.empty() ? "died" : fate));
      }
      return reply;
    }
    fresh_ = false;
    if (reply->leaving != 0 || reply->failed > 1) End();
    if (reply->failed == 0) return reply;
    reply->message[sizeof reply->message - 1] = '\0';
    const bool known = reply->code <= static_cast<uint32_t>(ErrorCode::kSystem);
    std::string message = reply->message;
    std::ranges::replace_if(
        message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    return Fail(known ? static_cast<ErrorCode>(reply->code) : ErrorCode::kMalformed, message);
  }
}

void WorkerProcess::Discard() {
  const std::lock_guard lock(mutex_);
  if (pid_ < 0) return;
  End();
  ++counters_->children_died;
}

void WorkerProcess::EndIfIdle() {
  const std::unique_lock lock(mutex_, std::try_to_lock);  // Busy is not idle.
  if (lock.owns_lock() && pid_ >= 0 && Clock::now() - last_sent_ > kChildStale) End();
}

uint64_t WorkerProcess::LiveCpuNs() const {
  const pid_t pid = pid_;
  clockid_t clock{};
  timespec used{};
  if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
    return 0;
  }
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace hotpath
